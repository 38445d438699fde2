/**
 * Nodes and pods for tests on real packets: network namespaces of this test only, kept under a folder of its own, joined
 * by an underlay bridge. All of it is gone after the test.
 */
import { fork, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../../../kernel/contract/index.ts';
import { createNetns, deleteNetns, runInNetns } from '../../../netplugins/linux/namespaces.ts';
import { openRtnetlink, RT_SCOPE_LINK } from '../../../netplugins/linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../../netplugins/linux/sysctl.ts';
import type { Answer, Command } from './prober.ts';

export const quiet: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

interface Teardown {
  teardown(undo: () => unknown): void;
}

/** npm's folders first would find another program called nft. */
const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

export class Place {
  readonly netns: string;
  #child: ChildProcess | undefined;
  #next = 1;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  constructor(netns: string) {
    this.netns = netns;
  }

  ask(command: Command): Promise<Answer> {
    this.#child ??= this.#start();
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child?.send({ id, command });
    });
  }

  tcp(
    host: string,
    port: number,
    options: { localAddress?: string; localPort?: number; timeoutMs?: number; bytes?: number } = {},
  ): Promise<Answer> {
    return this.ask({ verb: 'tcp', host, port, ...options });
  }

  udp(
    host: string,
    port: number,
    options: { localPort?: number; timeoutMs?: number; bytes?: number } = {},
  ): Promise<Answer> {
    return this.ask({ verb: 'udp', host, port, ...options });
  }

  sctp(host: string, port: number, options: { timeoutMs?: number } = {}): Promise<Answer> {
    return this.ask({ verb: 'sctp', host, port, ...options });
  }

  async serve(port: number, name: string, address?: string): Promise<void> {
    for (const verb of ['listenTcp', 'listenUdp'] as const) {
      const answer = await this.ask({ verb, port, name, ...(address === undefined ? {} : { address }) });
      if (answer.error !== undefined) throw new Error(`${name} cannot listen on ${port}: ${answer.error}`);
    }
  }

  /** Output of a command run inside; throws when it fails. */
  run(command: string, ...args: readonly string[]): string {
    return this.feed('', command, ...args);
  }

  /** The same, with text on its standard input. */
  feed(input: string, command: string, ...args: readonly string[]): string {
    const result = runInNetns(this.netns, () => spawnSync(command, args, { input, encoding: 'utf8', env }));
    if (result.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  }

  #start(): ChildProcess {
    const program = fileURLToPath(new URL('./prober.js', import.meta.url));
    // Without AVA's options in execArgv; forked from this thread, so it starts inside.
    const child = runInNetns(this.netns, () =>
      fork(program, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
    child.on('message', ({ id, answer }: { id: number; answer: Answer }) => {
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
    child.on('exit', () => {
      for (const resolve of this.#waiting.values()) resolve({ error: 'PROBER_GONE' });
      this.#waiting.clear();
    });
    return child;
  }
}

/** Text of everything in a namespace that a netplugin could leave behind. */
export function snapshot(place: Place): string {
  // Processes are what takes time here, where processors are emulated most of all: one for each family of `ip`.
  const commands: readonly (readonly [argv: readonly string[], batch?: readonly string[]])[] = [
    [
      ['ip', '-batch', '-'],
      ['link', 'address', 'route show table all', 'rule', 'neighbour show nud permanent'],
    ],
    [
      ['ip', '-6', '-batch', '-'],
      ['route show table all', 'rule'],
    ],
    [['bridge', 'fdb']],
    [['nft', 'list', 'ruleset']],
  ];
  return (
    commands
      .map(([[command = '', ...args], batch = []]) => {
        const said = place.feed(batch.join('\n'), command, ...args);
        // The kernel lists its forwarding entries in no order that lasts.
        const text = command === 'bridge' ? said.replace(/\n$/, '').split('\n').sort().join('\n') + '\n' : said;
        return `# ${command} ${args.join(' ')}\n${text}`;
      })
      .join('')
      .replaceAll(/ (valid_lft|preferred_lft|expires) \S+/g, '')
      // What the kernel learns or makes by itself as traffic comes.
      .replaceAll(/^[0-9a-f:]{17} dev \S+ master \S+ \n|^multicast ff00::\/8 .*\n/gm, '')
      // What follows from IPv6 addresses, some moments after they are there or gone.
      .replaceAll(/^(?:anycast|local) f[de][0-9a-f:]+ dev \S+ .*proto kernel .*\n/gm, '')
      .replaceAll(/^33:33:ff:\S+ dev \S+ self permanent\s*\n/gm, '')
      // Whether a bridge has a port that is up: follows a second later.
      .replaceAll(/NO-CARRIER,|,LOWER_UP| linkdown| state (UP|DOWN)/g, '')
  );
}

export interface Topology {
  readonly folder: string;
  readonly nodes: readonly Place[];
  readonly underlay: Place;
  /** Makes one more namespace: a pod's. */
  pod(name: string): Place;
}

export const nodeAddress = (index: number): string => `192.168.99.${index + 1}`;
export const nodeAddress6 = (index: number): string => `fd99::${index + 1}`;
export const underlayAddress = '192.168.99.254';
export const podCidr = (index: number): string => `10.244.${index + 1}.0/24`;

/** `count` nodes with eth0 on an underlay of 1500 bytes, whose bridge is also their default gateway. */
export function createTopology(t: Teardown, count: number): Topology {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-net-'));
  const places: Place[] = [];
  const place = (name: string): Place => {
    const path = join(folder, name);
    createNetns(path);
    const made = new Place(path);
    places.push(made);
    // No link-local addresses: they appear seconds after the link, and snapshots would differ by when they are taken.
    writeSysctl('net.ipv6.conf.default.addr_gen_mode', 1, { netns: path });
    // By default a UDP flow that pauses for 30 seconds is a new one, and a busy machine may pause a test for so long.
    for (const name of ['udp_timeout', 'udp_timeout_stream'].map((one) => `net.netfilter.nf_conntrack_${one}`))
      if (readSysctl(name, { netns: path }) !== undefined) writeSysctl(name, 600, { netns: path });
    const links = openRtnetlink({ netns: path });
    links.setLink('lo', { up: true });
    links.close();
    return made;
  };
  t.teardown(async () => {
    for (const one of places) await one.stop();
    for (const one of places) deleteNetns(one.netns);
    rmSync(folder, { recursive: true, force: true });
  });
  const underlay = place('underlay');
  const wire = openRtnetlink({ netns: underlay.netns });
  wire.createBridge({ name: 'wire' });
  const bridge = wire.getLink('wire')?.index ?? 0;
  wire.setLink(bridge, { up: true });
  wire.addAddress(bridge, `${underlayAddress}/24`);
  wire.addAddress(bridge, 'fd99::ffff/64');
  writeSysctl('net.ipv4.ip_forward', 1, { netns: underlay.netns });
  const nodes = Array.from({ length: count }, (_, index) => {
    const node = place(`node${index}`);
    // Forwarding stays on after a purge, by design, and has visible routes of its own in IPv6.
    writeSysctl('net.ipv6.conf.all.forwarding', 1, { netns: node.netns });
    const port = `port${index}`;
    wire.createVeth({ name: port, peer: { name: 'eth0', netns: node.netns } });
    wire.setLink(port, { master: bridge, up: true });
    const own = openRtnetlink({ netns: node.netns });
    const eth0 = own.getLink('eth0')?.index ?? 0;
    own.setLink(eth0, { up: true });
    own.addAddress(eth0, `${nodeAddress(index)}/24`);
    own.addAddress(eth0, `${nodeAddress6(index)}/64`);
    // By hand, as link-local addresses are off: the kernel asks for a forwarded packet's neighbour only from one.
    own.addAddress(eth0, `fe80::${index + 1}/64`, { scope: RT_SCOPE_LINK });
    own.addRoute({ destination: '0.0.0.0/0', gateway: underlayAddress, link: eth0 });
    own.close();
    return node;
  });
  wire.close();
  return { folder, nodes, underlay, pod: place };
}

/** For an answer that must come: nobody waits for it who gets it, and no machine is so busy that it comes later. */
export const answerMs = 30_000;

/** Repairs have two seconds of a machine that has time for them; what is tested is that nobody has to ask for them. */
export const repairMs = 30_000;

/** A limit for what should not come, stretched when the machine is busy with other work. */
export const patience = (ms: number): number => ms * Math.min(8, Math.max(1, loadavg()[0]! / availableParallelism()));

/** Waits until `condition` holds; fails with `what` after `timeoutMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`Waited ${timeoutMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * What `read` says once it is `expected`, or in the end. After a kill: a command that the killed one had begun may end a
 * moment later, and what it does is put right by whoever runs then.
 */
export async function settled(read: () => string, expected: string, timeoutMs = 30_000): Promise<string> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const text = read();
    if (text === expected || performance.now() > end) return text;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
