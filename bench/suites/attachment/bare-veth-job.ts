/**
 * What the attachments are measured beside: a veth pair with the same addresses and routes, made in a process such as theirs.
 */
import { openRtnetlink } from '../../../netplugins/linux/rtnetlink.ts';
import type { Job } from '../../bed/plugin-process.ts';
import { podAddress } from '../../bed/wire.ts';

export interface BareVethArgs {
  readonly verb: 'add' | 'remove';
  readonly node: string;
  /** Network namespaces. */
  readonly pods: readonly string[];
}

export interface Took {
  /** Milliseconds of each. */
  readonly took: ArrayLike<number>;
  /** Of all together. */
  readonly ms: number;
}

export const bareVethJob: Job<BareVethArgs, Took> = async ({ verb, node, pods }) => {
  const links = openRtnetlink({ netns: node });
  try {
    const act = verb === 'add' ? add : remove;
    const began = performance.now();
    const took = pods.map((pod, index) => {
      const from = performance.now();
      act(links, pod, index);
      return performance.now() - from;
    });
    return { took, ms: performance.now() - began };
  } finally {
    links.close();
  }
};

type Links = ReturnType<typeof openRtnetlink>;

function add(node: Links, netns: string, index: number): void {
  const address = `${podAddress(0, index + 2, 'ipv4')}/32`;
  node.createVeth({ name: endOf(index), up: true, peer: { name: 'eth0', netns } });
  node.addRoute({ destination: address, link: node.getLink(endOf(index))!.index, scope: 253 });
  const pod = openRtnetlink({ netns });
  try {
    const eth0 = pod.getLink('eth0')!.index;
    pod.setLink(eth0, { up: true });
    pod.addAddress(eth0, address);
    pod.addRoute({ destination: '169.254.1.1/32', link: eth0, scope: 253 });
    pod.addRoute({ destination: '0.0.0.0/0', gateway: '169.254.1.1', link: eth0 });
  } finally {
    pod.close();
  }
}

const remove = (node: Links, _netns: string, index: number): void => void node.deleteLink(endOf(index));
const endOf = (index: number): string => `bare${index}`;
