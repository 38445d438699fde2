/** A pod's sandbox and its place in the pod network: made when missing, made anew when lost. Owns both on this node. */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, PintleError, type HostPort, type Sandbox } from '../../../kernel/contract/index.ts';
import { bandwidthOf } from './bandwidth.ts';
import { dnsConfig, etcHosts } from './pod-files.ts';
import type { PodMemory, PodWorkerServices, PodWorkerSettings } from './pod-memory.ts';

const uidLabel = 'io.kubernetes.pod.uid';

const attemptOf = (sandbox: Sandbox) => Number(sandbox.id.slice(sandbox.id.lastIndexOf('_') + 1)) || 0;

/** How a kubelet's message begins whose event is FailedCreatePodSandBox. */
export const sandboxFailure = 'Failed to create pod sandbox';

function withoutNetwork(error: unknown): unknown {
  if (!isPintleError(error)) return error;
  const { code, message, details } = error;
  return new PintleError(code, `${sandboxFailure}: ${message}`, { details, cause: error });
}

export class PodSandboxes {
  readonly #settings: PodWorkerSettings;
  readonly #services: PodWorkerServices;

  constructor(settings: PodWorkerSettings, services: PodWorkerServices) {
    this.#settings = settings;
    this.#services = services;
  }

  /** A pod's sandboxes, newest first. */
  async of(uid: string): Promise<readonly Sandbox[]> {
    const found = await this.#services.runtime.listSandboxes(uid);
    return [...found].sort((a, b) => attemptOf(b) - attemptOf(a));
  }

  /** Resolves to a sandbox that is ready and connected; undefined while the node's network is not ready. */
  async ensure(pod: Pod, memory: PodMemory, sandboxes: readonly Sandbox[]): Promise<Sandbox | undefined> {
    const { attachment, record } = this.#services;
    const { uid, namespace, name } = pod.metadata;
    const isHost = pod.spec.hostNetwork ?? false;
    const problem = isHost || memory.attached ? undefined : this.#services.networkProblem();
    if (problem !== undefined) {
      // An agent that has just started does not know its network yet: what runs already runs on meanwhile.
      if (!sandboxes[0]?.ready) record(pod, 'Warning', 'NetworkNotReady', `network is not ready: ${problem}`);
      this.#services.again(uid, 1000);
      return undefined;
    }
    let [sandbox] = sandboxes;
    if (sandbox && !sandbox.ready) {
      // Its containers ended with it; a new one starts the pod's containers again under the restart policy.
      memory.attached = undefined;
      await attachment.remove({ sandboxId: sandbox.id });
      record(pod, 'Normal', 'SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.');
    }
    const isKept = sandbox?.ready === true;
    if (!sandbox?.ready) sandbox = await this.#make(pod, sandbox ? attemptOf(sandbox) + 1 : 0);
    const { attachmentCapabilities } = this.#settings;
    const hasPlace = sandbox.netns !== undefined || attachmentCapabilities.includes('no-namespace');
    if (!isHost && !memory.attached && hasPlace) {
      const request = {
        sandboxId: sandbox.id,
        podNamespace: namespace,
        podName: name,
        netns: sandbox.netns ?? '',
        hostPorts: this.#hostPorts(pod),
        bandwidth: attachmentCapabilities.includes('bandwidth') ? bandwidthOf(pod) : undefined,
      };
      memory.attached = await attachment.add(request).catch((error: unknown) => {
        throw withoutNetwork(error);
      });
      const known = pod.status?.podIP;
      if (isKept && known !== undefined && !memory.attached.ips.includes(known)) {
        // Another attachment than the one it was made with: its processes go by an address that it has no more.
        if (pod.spec.restartPolicy === 'Never') return this.#giveUp(pod, memory, known);
        await this.#services.runtime.stopSandbox(sandbox.id);
        return this.ensure(pod, memory, await this.of(uid));
      }
    }
    return sandbox;
  }

  /** What shall run once is not run once more: the pod ends, and Jobs are told that it was no fault of its own. */
  #giveUp(pod: Pod, memory: PodMemory, address: string): undefined {
    const message = `The node's pod network was changed and the pod's address ${address} is gone; restart policy Never lets nothing start again.`;
    memory.failure = { reason: 'PodNetworkChanged', message, isDisruption: true };
    // Its status keeps the address that it had.
    memory.attached = undefined;
    this.#services.record(pod, 'Warning', memory.failure.reason, message);
    this.#services.again(pod.metadata.uid);
  }

  #make(pod: Pod, attempt: number): Promise<Sandbox> {
    const { uid, namespace, name, labels } = pod.metadata;
    const isHost = pod.spec.hostNetwork ?? false;
    return this.#services.runtime.ensureSandbox({
      id: `${uid}_${attempt}`,
      podNamespace: namespace,
      podName: name,
      podUid: uid,
      hostname: isHost ? this.#settings.nodeName : (pod.spec.hostname ?? name).slice(0, 63),
      labels: { ...labels, [uidLabel]: uid },
      hostNetwork: isHost,
      hostIpc: pod.spec.hostIPC ?? false,
      hostPid: pod.spec.hostPID ?? false,
      sharedPid: pod.spec.shareProcessNamespace ?? false,
      resolvConf: dnsConfig(pod, this.#settings.dns),
      etcHosts: etcHosts(pod, [], this.#settings.dns.clusterDomain),
      limits: { pids: this.#settings.podPids },
      sysctls: Object.fromEntries((pod.spec.securityContext?.sysctls ?? []).map((each) => [each.name, each.value])),
    });
  }

  #hostPorts(pod: Pod): readonly HostPort[] {
    if (!this.#settings.attachmentCapabilities.includes('host-ports')) return [];
    return pod.spec.containers.flatMap((container) =>
      (container.ports ?? [])
        .filter((port) => port.hostPort)
        .map((port) => ({
          hostIp: port.hostIP || undefined,
          hostPort: port.hostPort!,
          containerPort: port.containerPort,
          protocol: (port.protocol ?? 'TCP') as HostPort['protocol'],
        })),
    );
  }
}
