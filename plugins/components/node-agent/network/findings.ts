/** What is wrong with this node's network, or about to be: each check reads the live kernel and changes nothing. */
import type { Attachment, Finding, Overlay, Runtime } from '../../../../kernel/contract/index.ts';
import { openRtnetlink } from '../../../../netplugins/linux/rtnetlink.ts';
import { readSysctl } from '../../../../netplugins/linux/sysctl.ts';
import { forwardChains, mixedBackends, rivalOwners } from '../../../../netplugins/linux/trace/firewall.ts';
import type { NetworkParts } from './tracer.ts';

/** Tables that are fuller than this will be full in the next rush. */
const fullShare = 0.8;

export interface FindingParts extends NetworkParts {
  readonly runtime: Runtime;
  readonly attachment: Attachment;
  readonly overlay: Overlay;
}

export async function findings(parts: FindingParts): Promise<readonly Finding[]> {
  const found = await Promise.all([
    plugins(parts),
    pods(parts),
    forwarding(parts),
    backends(),
    owners(),
    tables(),
    podMtu(parts),
    bridges(parts),
  ]);
  return found.flat();
}

/** What the plugins themselves say. */
async function plugins({ attachment, overlay, proxy }: FindingParts): Promise<readonly Finding[]> {
  const named = { attachment: attachment.status(), overlay: overlay.status(), proxy: proxy.status() };
  const unready = Object.entries(named).flatMap(([check, status]) =>
    status.ready
      ? []
      : [
          finding(
            check,
            `the ${check} is not ready, so pods that are made here wait, or lack their network: ${status.reason ?? 'it says no reason'}`,
            true,
            status.reason === undefined
              ? 'the log of the agent says more'
              : 'what that says; the agent then goes on by itself',
          ),
        ],
  );
  const lost = overlay
    .status()
    .peers.filter((peer) => !peer.ready)
    .map((peer) =>
      finding(
        'overlay',
        `pods of node ${peer.name} cannot be reached: ${peer.reason ?? 'no reason is known'}`,
        true,
        `kubectl get node ${peer.name} -o yaml shows what that node has published, pintle plugins ls there what it runs`,
      ),
    );
  return [...unready, ...lost];
}

async function pods({ runtime, attachment }: FindingParts): Promise<readonly Finding[]> {
  const all = await Promise.all(
    (await runtime.listSandboxes()).map(async ({ id, netns, ready, podNamespace, podName }) => {
      if (netns === undefined || !ready) return [];
      const wrong = await attachment.check({ sandboxId: id, netns }).catch((error: Error) => [error.message]);
      return wrong.map((each) =>
        finding(
          'attachment',
          `pod ${podNamespace}/${podName}: ${each}`,
          true,
          'delete the pod, so that it is attached anew',
        ),
      );
    }),
  );
  return all.flat();
}

async function forwarding({ podCidrs }: FindingParts): Promise<readonly Finding[]> {
  const settings = [
    'net.ipv4.ip_forward',
    ...(podCidrs().some((cidr) => cidr.includes(':')) ? ['net.ipv6.conf.all.forwarding'] : []),
  ];
  const off = settings
    .filter((name) => readSysctl(name) !== '1')
    .map((name) =>
      finding('forwarding', `${name} is off: pods reach nobody outside their node`, true, `sysctl -w ${name}=1`),
    );
  const chains = (await forwardChains()).flatMap(({ problem }) =>
    problem ? [{ check: 'forward-policy', ...problem }] : [],
  );
  return [...off, ...chains];
}

async function owners(): Promise<readonly Finding[]> {
  return (await rivalOwners()).map((problem) => ({ check: 'other-owners', ...problem }));
}

async function backends(): Promise<readonly Finding[]> {
  const problem = await mixedBackends();
  return problem === undefined ? [] : [{ check: 'iptables-backends', ...problem }];
}

async function tables(): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  const check = (name: string, used: number, setting: string, what: string): void => {
    const limit = Number(readSysctl(setting) ?? Number.NaN);
    if (!(limit > 0) || used <= limit * fullShare) return;
    found.push(
      finding(
        name,
        `${used} of ${limit} ${what}: when it is full, new ones are refused and packets lost`,
        false,
        `sysctl -w ${setting}=${limit * 2}`,
      ),
    );
  };
  const connections = Number(readSysctl('net.netfilter.nf_conntrack_count') ?? 0);
  check('conntrack-room', connections, 'net.netfilter.nf_conntrack_max', 'connections are tracked');
  const rt = openRtnetlink();
  try {
    const neighbours = rt.listNeighbours().filter((each) => !each.permanent).length;
    check('neighbour-room', neighbours, 'net.ipv4.neigh.default.gc_thresh3', 'neighbours (ARP) are known');
  } finally {
    rt.close();
  }
  return found;
}

/** Pods that were attached before the MTU of the way fell. */
async function podMtu({ runtime, overlay }: FindingParts): Promise<readonly Finding[]> {
  const { mtuBytes } = overlay.status();
  return (await runtime.listSandboxes()).flatMap(({ netns, ready, podNamespace, podName }) => {
    if (netns === undefined || !ready || mtuBytes === 0) return [];
    const rt = openRtnetlink({ netns });
    try {
      const large = rt.listLinks().find((link) => !link.loopback && link.up && link.mtu > mtuBytes);
      if (large === undefined) return [];
      const text = `pod ${podNamespace}/${podName}: ${large.name} has an MTU of ${large.mtu}, the overlay carries ${mtuBytes}: full packets to other nodes are lost or cost a detour`;
      return [finding('pod-mtu', text, false, 'delete the pod, so that it is attached anew')];
    } finally {
      rt.close();
    }
  });
}

/** Pods that speak with each other through a bridge, past the proxy: their answers would come from the wrong address. */
async function bridges({ runtime }: FindingParts): Promise<readonly Finding[]> {
  if (readSysctl('net.bridge.bridge-nf-call-iptables') === '1') return [];
  for (const { netns, ready } of await runtime.listSandboxes()) {
    if (netns === undefined || !ready) continue;
    const [pod, node] = [openRtnetlink({ netns }), openRtnetlink()];
    try {
      const own = pod.listAddresses({ family: 2 }).find((each) => each.scope === 0 && each.prefixLength < 31);
      const pair = own === undefined ? undefined : pod.getLink(own.index)?.peer;
      const master = pair === undefined ? undefined : node.getLink(pair)?.master;
      if (master !== undefined && node.getLink(master)?.kind === 'bridge')
        return [
          finding(
            'bridge-netfilter',
            'pods of one bridge reach each other past the packet filter (br_netfilter is off): a pod that asks a Service and is sent to a pod of its own node gets the answer from the wrong address',
            true,
            'modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1',
          ),
        ];
    } finally {
      pod.close();
      node.close();
    }
  }
  return [];
}

const finding = (check: string, text: string, isFatal: boolean, cure?: string): Finding => ({
  check,
  text,
  cure,
  isFatal,
});
