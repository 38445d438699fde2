/** Tells pod templates apart: the value of label pod-template-hash, which is also part of the ReplicaSet's name. */
import type { PodTemplateSpec } from '../../../kernel/contract/kubernetes.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';

export const hashLabel = 'pod-template-hash';

/** Letters and digits that form no words and are not mistaken for each other, as Kubernetes uses for names. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** FNV-1a, 32 bits. Changing it would give every Deployment a new ReplicaSet at the next upgrade. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

export function templateHash(template: PodTemplateSpec, collisionCount: number | undefined): string {
  const text = collisionCount === undefined ? templateText(template) : `${templateText(template)}#${collisionCount}`;
  return [...String(fnv1a(text))].map((digit) => alphabet[digit.charCodeAt(0) % alphabet.length]).join('');
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
