/** Tells pod templates apart: the value of label pod-template-hash, which is also part of the ReplicaSet's name. */
import type { PodTemplateSpec } from '../../../kernel/contract/kubernetes.ts';
import { nameHash } from '../../../kernel/machinery/name-hash.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';

export const hashLabel = 'pod-template-hash';

export function templateHash(template: PodTemplateSpec, collisionCount: number | undefined): string {
  const text = collisionCount === undefined ? templateText(template) : `${templateText(template)}#${collisionCount}`;
  return nameHash(text);
}

export function isSameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return templateText(a ?? {}) === templateText(b ?? {});
}

/** Without the hash label and without what the server may or may not write for "nothing". */
function templateText({ metadata = {}, spec }: PodTemplateSpec): string {
  const labels = Object.entries(metadata.labels ?? {}).filter(([key]) => key !== hashLabel);
  const annotations = Object.entries(metadata.annotations ?? {});
  return stableText([Object.fromEntries(labels), Object.fromEntries(annotations), metadata.finalizers ?? [], spec]);
}
