/**
 * What a ControllerRevision keeps: the owner's pod template, as the strategic merge patch that puts it back. That is what
 * `kubectl rollout history` prints and `kubectl rollout undo` sends.
 */
import type { ControllerRevision, PodTemplateSpec } from '../../contract/kubernetes.ts';
import { nameHash } from '../name-hash.ts';
import { stableText } from '../stable-text.ts';

/** Names the template of a pod, and of a DaemonSet's ControllerRevision. */
export const revisionLabel = 'controller-revision-hash';

interface RevisionData {
  readonly spec?: { readonly template?: PodTemplateSpec & { readonly $patch?: string } };
}

/** Sorted keys, as the text is compared by clients. */
export function revisionData(template: PodTemplateSpec): object {
  return JSON.parse(stableText({ spec: { template: { ...template, $patch: 'replace' } } })) as object;
}

export function templateOf(revision: ControllerRevision): PodTemplateSpec {
  const { $patch: _replace, ...template } = (revision.data as RevisionData | undefined)?.spec?.template ?? {};
  return template;
}

export function hasTemplate(revision: ControllerRevision, template: PodTemplateSpec): boolean {
  return stableText(templateOf(revision)) === stableText(template);
}

export function revisionHash(template: PodTemplateSpec, collisionCount: number): string {
  const text = stableText(template);
  return nameHash(collisionCount === 0 ? text : `${text}#${collisionCount}`);
}
