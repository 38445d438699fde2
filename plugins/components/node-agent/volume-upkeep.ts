/**
 * What volumes need while their pods run: files of ConfigMaps and Secrets follow their sources, and an emptyDir that has
 * outgrown its limit ends its pod. Looked at every few seconds; only pods that have such volumes cost anything.
 */
import { join } from 'node:path';
import type { Clock } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { byteCount } from '../../../kernel/machinery/quantity.ts';
import { usedBytes } from './empty-dir.ts';
import type { Problem } from './pod-status.ts';

/** In every pod by the API's own hand; the rare look at all pods is enough for it. */
const ownConfigMap = 'kube-root-ca.crt';

/** True when a file of the pod may change with an object that its user named. */
export function hasLiveFiles({ spec }: Pod): boolean {
  return (spec.volumes ?? []).some(
    ({ configMap, secret, projected }) =>
      configMap !== undefined ||
      secret !== undefined ||
      (projected?.sources ?? []).some(
        (source) =>
          source.secret !== undefined || (source.configMap !== undefined && source.configMap.name !== ownConfigMap),
      ),
  );
}

/** Why the pod has to go, or undefined. */
export async function outgrown(pod: Pod, podFolder: string): Promise<Problem | undefined> {
  for (const { name, emptyDir } of pod.spec.volumes ?? []) {
    // A tmpfs has the limit as its size.
    if (emptyDir?.sizeLimit === undefined || emptyDir.medium === 'Memory') continue;
    const limit = byteCount(emptyDir.sizeLimit);
    if (limit <= 0 || (await usedBytes(join(podFolder, 'volumes', name))) <= limit) continue;
    const message = `Usage of EmptyDir volume "${name}" exceeds the limit "${emptyDir.sizeLimit}". `;
    return { reason: 'Evicted', message };
  }
  return undefined;
}

export interface VolumeUpkeepOptions {
  readonly everyMs: number;
  readonly clock: Clock;
  pods(): readonly Pod[];
  folder(podUid: string): string;
  /** Look at this pod. */
  look(podUid: string): void;
  /** End this pod. */
  fail(pod: Pod, why: Problem): void;
}

/** Resolves when the signal aborts. */
export async function keepVolumes(options: VolumeUpkeepOptions, signal: AbortSignal): Promise<void> {
  const { clock, everyMs, pods, folder, look, fail } = options;
  for (;;) {
    await pause(clock, everyMs, signal);
    if (signal.aborted) return;
    for (const pod of pods()) {
      if (isPodTerminal(pod) || pod.metadata.deletionTimestamp !== undefined) continue;
      const why = await outgrown(pod, folder(pod.metadata.uid));
      if (why !== undefined) fail(pod, why);
      else if (hasLiveFiles(pod)) look(pod.metadata.uid);
    }
  }
}
