/** Two nodes on one link, one pod each, in network namespaces of this run's own, and the ways to join them. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger, Overlay, Peer } from '../../kernel/contract/index.ts';
import { BpfAssembler } from '../../netplugins/linux/bpf-assembler.ts';
import { attachPacketProgram, bpfHelpers, bpfVerdicts, loadPacketProgram } from '../../netplugins/linux/bpf.ts';
import { setOffload, setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import { createNetns, deleteNetns, runInNetns } from '../../netplugins/linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { createTun } from '../../netplugins/linux/tun.ts';
import { DataPathProcess } from '../../netplugins/overlays/flannel-udp/data-path-process.ts';
import { FlannelUdpOverlay } from '../../netplugins/overlays/flannel-udp/flannel-udp-overlay.ts';
import { VxlanOverlay } from '../../netplugins/overlays/vxlan/vxlan-overlay.ts';

export const modes = ['routed', 'vxlan', 'one-packet', 'dgram', 'offload', 'super', 'kernel'] as const;
/**
 * routed: no overlay. one-packet: flannel's own design. dgram, offload: paths of flannel-udp, the latter with plain packets
 * on the wire. super: offload with super-packets. kernel: offload with its shortcut, by which packets do not come to user space.
 */
export type Mode = (typeof modes)[number];

export const conditions = ['veth', 'wire', 'off', 'lossy'] as const;
/**
 * veth: the underlay passes 64 KB packets whole, as a NIC with all offloads does. wire: each packet is cut by the sender and
 * gathered by the receiver. off: as wire, and with no offload for sending at all, checksums included (ethtool -K eth0 tx off
 * tso off gso off). lossy: cut, not gathered, and one of a thousand is lost.
 */
export type Condition = (typeof conditions)[number];

/** With which 64 KB of payload and what super-packets add fit into one send. */
const superMtu = 1452;

const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const traffic = fileURLToPath(new URL('./traffic.js', import.meta.url));
const onePacket = fileURLToPath(new URL('./one-packet.js', import.meta.url));
const sides = [1, 2] as const;
const nodeAddress = (side: number): string => `192.168.99.${side}`;
const nodeAddress6 = (side: number): string => `fd99::${side}`;
const podCidr = (side: number): string => `10.244.${side}.0/24`;
const podCidr6 = (side: number): string => `fd44:0:0:${side}::/64`;
export type PodFamily = 4 | 6;
export const podAddress = (side: number, family: PodFamily): string =>
  family === 4 ? `10.244.${side}.2` : `fd44:0:0:${side}::2`;

export interface StopTimes {
  /** Until the last packet had arrived. */
  readonly packetsMs: number;
  /** Until the data path's process was gone; 0: it has none. */
  readonly processMs: number;
  /** Until nothing of it was left on the node. */
  readonly removedMs: number;
}

export class TwoNodes {
  readonly #folder = mkdtempSync(join(tmpdir(), 'pintle-bench-'));
  readonly #nodes = sides.map((side) => join(this.#folder, `node${side}`));
  readonly #pods = sides.map((side) => join(this.#folder, `pod${side}`));
  #overlays: (Overlay & AsyncDisposable)[] = [];
  #children: ChildProcess[] = [];
  #onePacket: ChildProcess[] = [];
  #losses: readonly number[] = [];

  /** Of the pods' traffic. */
  readonly #family: PodFamily;
  /** Of each data path in user space. */
  readonly #threads: 1 | 2 | 4 | 8;

  constructor(family: PodFamily, threads: 1 | 2 | 4 | 8 = 1) {
    this.#family = family;
    this.#threads = threads;
    for (const path of [...this.#nodes, ...this.#pods]) {
      createNetns(path);
      this.#with(path, (links) => links.setLink('lo', { up: true }));
    }
    this.#with(this.#nodes[0]!, (links) =>
      links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth0', netns: this.#nodes[1]! } }),
    );
    for (const [index, side] of sides.entries()) {
      const [node, pod] = [this.#nodes[index]!, this.#pods[index]!];
      writeSysctl('net.ipv4.ip_forward', 1, { netns: node });
      writeSysctl('net.ipv6.conf.all.forwarding', 1, { netns: node });
      this.#with(node, (links) => {
        links.createVeth({ name: 'pod', up: true, peer: { name: 'eth0', netns: pod } });
        links.setLink('eth0', { up: true });
        const [eth0, ofPod] = [links.getLink('eth0')!.index, links.getLink('pod')!.index];
        links.addAddress(eth0, `${nodeAddress(side)}/24`);
        links.addAddress(eth0, `${nodeAddress6(side)}/64`);
        links.addAddress(ofPod, `10.244.${side}.1/24`);
        links.addAddress(ofPod, `fd44:0:0:${side}::1/64`);
      });
    }
  }

  async join(mode: Mode, condition: Condition): Promise<void> {
    this.#setCondition(condition);
    if (mode === 'routed') this.#route();
    else if (mode === 'one-packet') await this.#startOnePacket();
    else await this.#startOverlay(mode);
    const mtu =
      { routed: 1500, vxlan: this.#family === 6 ? 1430 : 1450, 'one-packet': 1472, super: superMtu }[mode as string] ??
      1472;
    for (const [index, side] of sides.entries())
      this.#with(this.#pods[index]!, (links) => {
        links.setLink('eth0', { up: true, mtu });
        const { index: link } = links.getLink('eth0')!;
        links.addAddress(link, `${podAddress(side, 4)}/24`);
        links.addAddress(link, `${podAddress(side, 6)}/64`);
        links.replaceRoute({ destination: '0.0.0.0/0', gateway: `10.244.${side}.1`, link });
        links.replaceRoute({ destination: '::/0', gateway: `fd44:0:0:${side}::1`, link });
      });
  }

  async leave(): Promise<void> {
    for (const overlay of this.#overlays) {
      await overlay.leave();
      await overlay[Symbol.asyncDispose]();
    }
    this.#overlays = [];
    for (const child of this.#children) child.kill('SIGKILL');
    for (const child of this.#onePacket) child.kill('SIGKILL');
    this.#children = [];
    this.#onePacket = [];
    for (const [index] of sides.entries()) this.#unroute(this.#nodes[index]!, podCidr(2 - index));
  }

  async destroy(): Promise<void> {
    await this.leave();
    for (const path of [...this.#nodes, ...this.#pods]) deleteNetns(path);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Runs traffic.js in the pod of `side` and returns what it prints, as it prints it. */
  traffic(
    side: 1 | 2,
    ...args: readonly string[]
  ): { readonly child: ChildProcess; readonly lines: AsyncGenerator<unknown> } {
    const child = runInNetns(this.#pods[side - 1]!, () =>
      spawn(process.execPath, [traffic, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    this.#children.push(child);
    return { child, lines: jsonLines(child) };
  }

  /** Ends what node 1 joined, in the middle of a stream to node 2. Milliseconds from the request. */
  async timeStop(): Promise<StopTimes> {
    const [overlay] = this.#overlays;
    const [pid] = await this.dataPaths();
    const { lines } = this.traffic(2, 'watch');
    await lines.next();
    const now = (): number => Number(process.hrtime.bigint()) / 1e6;
    const watched = pid === undefined ? undefined : this.traffic(2, 'watch-process', String(pid)).lines;
    await watched?.next();
    const began = now();
    await overlay?.leave();
    const removedMs = now() - began;
    const { lastMs } = (await lines.next()).value as { readonly lastMs: number };
    const gone = (await watched?.next())?.value as { readonly goneMs: number } | undefined;
    const processMs = gone === undefined ? 0 : gone.goneMs - began;
    // A stream may pause by itself.
    return { packetsMs: Math.max(0, lastMs - began), processMs, removedMs };
  }

  /** Processes of the data paths in user space. */
  async dataPaths(): Promise<readonly number[]> {
    const found = await Promise.all(sides.map((_, index) => DataPathProcess.find(this.#stateDir(index))));
    const pids = found.map((one) => one?.hello.pid);
    for (const one of found) one?.disconnect();
    return [...pids, ...this.#onePacket.map(({ pid }) => pid)].filter((pid) => pid !== undefined);
  }

  #stateDir(index: number): string {
    return join(this.#folder, `state${index}`);
  }

  #with(netns: string, act: (links: Rtnetlink) => void): void {
    const links = openRtnetlink({ netns });
    try {
      act(links);
    } finally {
      links.close();
    }
  }

  #run(netns: string, command: string, args: readonly string[], input = ''): void {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
    const done = runInNetns(netns, () => spawnSync(command, args, { input, encoding: 'utf8', env }));
    if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr}`);
  }

  #setCondition(condition: Condition): void {
    for (const node of this.#nodes) {
      // Packets of more than one segment are cut before they are sent.
      const segments = condition === 'veth' ? '65535' : '1';
      this.#run(node, 'ip', ['link', 'set', 'dev', 'eth0', 'gso_max_segs', segments]);
      setTxChecksumOffload('eth0', condition !== 'off', { netns: node });
      setOffload('eth0', 'gso', condition !== 'off', { netns: node });
      // A veth gathers only what comes from one that does not pass large packets itself.
      setOffload('eth0', 'tso', condition === 'veth', { netns: node });
      setOffload('eth0', 'gro', condition === 'wire' || condition === 'off', { netns: node });
    }
    for (const fd of this.#losses) closeSync(fd);
    this.#losses = condition === 'lossy' ? this.#nodes.map((node) => this.#lose(node)) : [];
  }

  /** Before anything else sees what arrives: one of a thousand is dropped. Returns what undoes it when it is closed. */
  #lose(node: string): number {
    let link = 0;
    this.#with(node, (links) => (link = links.getLink('eth0')!.index));
    const program = new BpfAssembler().call(bpfHelpers.random).compute('modulo', 0, 1_000);
    program.jumpIf(0, 'equal', 0, 'drop').set(0, bpfVerdicts.next).exit();
    const loaded = loadPacketProgram('loss', program.label('drop').set(0, bpfVerdicts.drop).exit().assemble());
    const attached = runInNetns(node, () => attachPacketProgram(loaded, link, 'ingress'));
    closeSync(loaded);
    return attached;
  }

  #route(): void {
    for (const [index] of sides.entries())
      this.#with(this.#nodes[index]!, (links) =>
        links.replaceRoute({
          destination: podCidr(2 - index),
          gateway: nodeAddress(2 - index),
          link: links.getLink('eth0')!.index,
        }),
      );
  }

  #unroute(netns: string, destination: string): void {
    this.#with(netns, (links) => {
      for (const route of links.listRoutes()) if (route.destination === destination) links.deleteRoute(route);
    });
  }

  async #startOnePacket(): Promise<void> {
    for (const [index, side] of sides.entries()) {
      const netns = this.#nodes[index]!;
      const tun = createTun({ name: 'one0', netns });
      const argv = [onePacket, nodeAddress(side), nodeAddress(3 - side), '8285'];
      const child = runInNetns(netns, () =>
        spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit', tun] }),
      );
      closeSync(tun);
      this.#onePacket.push(child);
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      this.#with(netns, (links) => {
        links.setLink('one0', { up: true, mtu: 1472 });
        links.replaceRoute({ destination: podCidr(2 - index), link: links.getLink('one0')!.index });
      });
    }
  }

  async #startOverlay(mode: Exclude<Mode, 'routed' | 'one-packet'>): Promise<void> {
    const peers: Peer[] = [];
    for (const [index, side] of sides.entries()) {
      const netns = this.#nodes[index]!;
      const overlay =
        mode === 'vxlan'
          ? new VxlanOverlay({
              ...({ vni: 1, port: 8472, txChecksumOffload: 'auto', directRouting: false, underlay: {} } as const),
              stateFile: `${this.#stateDir(index)}/settings.json`,
              bootId: 'bench',
              log: quiet,
              netns,
            })
          : new FlannelUdpOverlay({
              ...({
                port: 8285,
                inject: 'auto',
                threads: this.#threads,
                udpSegment: true,
                udpGro: true,
                checkSource: true,
                underlay: {},
              } as const),
              framing: mode === 'kernel' ? 'auto' : mode === 'super' ? 'super' : 'plain',
              mtu: mode === 'super' ? superMtu : undefined,
              path: mode === 'dgram' ? 'dgram' : 'offload',
              stateDir: this.#stateDir(index),
              log: quiet,
              netns,
            });
      this.#overlays.push(overlay);
      const base = {
        name: `node${side}`,
        podCidrs: [podCidr(side), ...(this.#family === 6 ? [podCidr6(side)] : [])],
        addresses: [nodeAddress(side), ...(this.#family === 6 ? [nodeAddress6(side)] : [])],
      };
      const { annotations } = await overlay.join({ ...base, clusterCidrs: ['10.244.0.0/16', 'fd44::/48'] });
      peers.push({ ...base, annotations });
    }
    for (const [index, overlay] of this.#overlays.entries()) await overlay.sync([peers[1 - index]!]);
  }
}

async function* jsonLines(child: ChildProcess): AsyncGenerator<unknown> {
  let rest = '';
  for await (const chunk of child.stdout!) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Time that all threads of these processes have had on a processor, in milliseconds. */
export function processorMs(pids: readonly (number | undefined)[]): number {
  let total = 0;
  for (const pid of pids) {
    if (pid === undefined) continue;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ns = '0'] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ');
      total += Number(ns) / 1e6;
    }
  }
  return total;
}
