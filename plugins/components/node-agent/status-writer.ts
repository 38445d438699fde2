/** Writes pods' statuses, each only when it says something new. */
import { readFile } from 'node:fs/promises';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Container, type Sandbox } from '../../../kernel/contract/index.ts';
import { copyJson } from '../../../kernel/machinery/copy-json.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { readLogs } from './log-reader.ts';
import type { PodMemory, PodWorkerServices, PodWorkerSettings } from './pod-memory.ts';
import { allDefinitions, podStatus, type PodObservation } from './pod-status.ts';

const maxMessageBytes = 4096;
const maxLogTail = { tailLines: 80, limitBytes: 2048 };

/** The newer of what the informer has and what the last write of this agent left. */
export function newestPod(known: Pod, written: Pod | undefined): Pod {
  if (written?.metadata.uid !== known.metadata.uid) return known;
  const [a, b] = [Number(known.metadata.resourceVersion), Number(written.metadata.resourceVersion)];
  return b > a ? written : known;
}

/** What a container left in its termination message file, or the end of its log. */
async function lastWordsOf(pod: Pod, container: Container, path: string, maxLogFiles: number): Promise<string> {
  const words = await readFile(path).catch(() => Buffer.alloc(0));
  if (words.length > 0) return words.subarray(0, maxMessageBytes).toString('utf8');
  const policy = allDefinitions(pod).find((each) => each.name === container.name)?.terminationMessagePolicy;
  if (policy !== 'FallbackToLogsOnError' || container.exitCode === 0) return '';
  const { namespace, name } = pod.metadata;
  const source = { path: container.logPath, maxLogFiles, isRunning: async () => false };
  const chunks: Buffer[] = [];
  const request = { namespace, pod: name, container: container.name, tailLines: maxLogTail.tailLines };
  for await (const chunk of readLogs(source, request, new AbortController().signal)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).subarray(-maxLogTail.limitBytes).toString('utf8');
}

export class StatusWriter {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;
  readonly #messageFile: (uid: string, containerId: string) => string;

  constructor(
    settings: PodWorkerSettings,
    services: PodWorkerServices,
    messageFile: (uid: string, containerId: string) => string,
  ) {
    this.#settings = settings;
    this.#services = services;
    this.#messageFile = messageFile;
  }

  /** Resolves to the phase that the API has now. */
  async write(
    pod: Pod,
    memory: PodMemory,
    facts: {
      readonly sandbox: Sandbox | undefined;
      readonly containers: readonly Container[];
      readonly podIps: readonly string[];
    },
  ): Promise<string | undefined> {
    const { cluster, clock, log } = this.#services;
    // Known to be probed is who has started, its postStart hook included.
    const probes = [...memory.probes];
    const observation: PodObservation = {
      containers: await this.#withLastWords(pod, memory, facts.containers),
      podIps: facts.podIps.length > 0 ? facts.podIps : (pod.status?.podIPs ?? []).map((each) => each.ip),
      hostIps: this.#settings.hostIps,
      sandboxReady: facts.sandbox?.ready ?? false,
      problems: memory.problems,
      started: new Set(probes.filter(([, each]) => each.live.started).map(([name]) => name)),
      ready: new Set(probes.filter(([, each]) => each.live.ready).map(([name]) => name)),
      nowMs: clock.now(),
      failure: memory.failure,
    };
    const status = podStatus(pod, observation);
    const said = copyJson(status);
    if (equalJson(said, memory.lastStatus) || equalJson(said, pod.status)) return pod.status?.phase;
    const shown = this.#services.shownBy(pod);
    if (!shown) return pod.status?.phase;
    const { namespace, name, uid } = shown.metadata;
    try {
      memory.written = await cluster.patch(
        resources.pods,
        { namespace, name },
        { kind: 'merge', body: { metadata: { uid }, status } },
        { subresource: 'status' },
      );
      memory.lastStatus = said;
      return status.phase;
    } catch (error) {
      // Gone, or replaced by a pod of the same name: the informer will say so.
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
      log.debug('status not written', { pod: name, error: error.message });
      return pod.status?.phase;
    }
  }

  async #withLastWords(pod: Pod, memory: PodMemory, containers: readonly Container[]): Promise<readonly Container[]> {
    const result: Container[] = [];
    for (const container of containers) {
      if (container.state !== 'exited') {
        result.push(container);
        continue;
      }
      let words = memory.lastWords.get(container.id);
      if (words === undefined) {
        const path = this.#messageFile(pod.metadata.uid, container.id);
        words = await lastWordsOf(pod, container, path, this.#settings.maxLogFiles);
        memory.lastWords.set(container.id, words);
      }
      result.push(words === '' ? container : { ...container, message: words });
    }
    return result;
  }
}
