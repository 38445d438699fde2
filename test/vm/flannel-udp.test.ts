/**
 * Overlay flannel-udp on a kernel without TCX and without the newer flags of BPF's helpers: its packets stay in the kernel
 * all the same, by a filter on the underlay's link, which is gone when the node leaves, and what others have there is not.
 */
import { spawnSync } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import type { Overlay, Peer } from '../../kernel/contract/index.ts';
import { DataPathProcess } from '../../netplugins/overlays/flannel-udp/data-path-process.ts';
import { clusterCidrs, createPods, flannelUdpOptions, openFlannelUdp, podCidr6 } from '../lab/support/cluster.ts';
import { createTopology, nodeAddress, podCidr, snapshot, type Place } from '../lab/support/topology.ts';

interface Node {
  readonly place: Place;
  readonly peer: Peer;
  readonly stateDir: string;
  readonly overlay: Overlay & AsyncDisposable;
}

async function join(t: ExecutionContext, place: Place, folder: string, index: number): Promise<Node> {
  const overlay = openFlannelUdp(place, folder, {});
  t.teardown(async () => {
    await overlay.leave();
    await overlay[Symbol.asyncDispose]();
  });
  const base = {
    name: `node-${index}`,
    podCidrs: [podCidr(index), podCidr6(index)],
    addresses: [nodeAddress(index)],
  };
  const { annotations } = await overlay.join({ ...base, clusterCidrs });
  return { place, overlay, peer: { ...base, annotations }, stateDir: flannelUdpOptions(place, folder).stateDir };
}

async function dataPath({ stateDir }: Node) {
  const found = await DataPathProcess.find(stateDir);
  if (found === undefined) throw new Error('no data path');
  const { pid } = found.hello;
  const counters = await found.ask({ verb: 'counters' });
  found.disconnect();
  return { pid, counters };
}

const filters = ({ place }: Node): string => place.run('tc', 'filter', 'show', 'dev', 'eth0', 'ingress');
const places = ({ place }: Node): string => place.run('tc', 'qdisc', 'show', 'dev', 'eth0');

test.serial(
  'packets of both families stay in the kernel; nothing is left on the link, and nothing foreign is touched',
  async (t) => {
    // No program of the host's has asked for devices yet.
    t.is(spawnSync('modprobe', ['tun']).status, 0);
    const topology = createTopology(t, 2);
    const pods = await createPods(t, topology, { overlay: 'flannel-udp', dual: true });
    const [first, second] = topology.nodes as [Place, Place];
    // Somebody else's place for programs, with a filter.
    second.run('tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
    second.run('tc', 'filter', 'add', 'dev', 'eth0', 'ingress', 'pref', '7', 'matchall', 'action', 'continue');
    const before = snapshot(first);
    const one = await join(t, first, topology.folder, 0);
    const two = await join(t, second, topology.folder, 1);
    t.is(one.overlay.status().uses?.['kernel'], 'yes');
    await one.overlay.sync([two.peer]);
    await two.overlay.sync([one.peer]);
    t.regex(filters(one), /receiver/);

    const [{ pod }, { ip }] = pods as [(typeof pods)[0], (typeof pods)[0]];
    for (const [host, from] of [
      [ip, pods[0]!.ip],
      ['fd44:0:0:2::2', 'fd44:0:0:1::2'],
    ] as const) {
      const [ours, theirs] = [(await dataPath(one)).counters, (await dataPath(two)).counters];
      t.deepEqual(await pod.tcp(host, 80, { bytes: 3_000_000, timeoutMs: 60_000 }), {
        answer: `node-1 ${from} 3000000`,
      });
      const [sender, receiver] = [(await dataPath(one)).counters, (await dataPath(two)).counters];
      t.true(sender.sentByKernel - ours.sentByKernel > 40, JSON.stringify(sender));
      t.true(receiver.receivedByKernel - theirs.receivedByKernel > 40, JSON.stringify(receiver));
      const long =
        receiver.receivedPackets - receiver.receivedByKernel - (theirs.receivedPackets - theirs.receivedByKernel);
      t.true(long < 20, `${long} by way of user space`);
    }

    // Killed, it leaves its program on the link.
    process.kill((await dataPath(one)).pid, 'SIGKILL');
    t.regex(filters(one), /receiver/);
    await one.overlay.leave();
    t.is(filters(one), '');
    t.notRegex(places(one), /clsact/);
    t.is(snapshot(first), before);
    await two.overlay.leave();
    t.regex(filters(two), /pref 7 matchall/);
    t.notRegex(filters(two), /receiver/);
  },
);
