/**
 * A node of a test cluster that runs the real flanneld with its Kubernetes subnet manager, in network and mount namespaces of
 * its own on the lab's underlay, as flannel's manifest has it: a service account with its ClusterRole, a Node object, a
 * net-conf.json. Behind it is one pod: a namespace with an address of the node's range.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { labMainPid } from '../../../cli/up/lab-processes.ts';
import { kubectls, type TestCluster } from '../../cluster/support/cluster.ts';
import { eventually } from '../../cluster/support/pods.ts';
import { Place } from '../../lab/support/topology.ts';

/** The program to try, and undefined where none is named: scripts/run-tests.ts says so before it gets here. */
export const flanneld = process.env['PINTLE_TEST_FLANNELD'] && resolve(process.env['PINTLE_TEST_FLANNELD']);

export const flannelAnnotation = (name: string): string => `flannel.alpha.coreos.com/${name}`;

const nodeName = 'flannel-node';
const account = 'flannel';

/** What flannel's own manifest gives to it. */
const access = `
apiVersion: v1
kind: Namespace
metadata: { name: kube-flannel }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${account}, namespace: kube-flannel }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: ${account} }
rules:
  - { apiGroups: [''], resources: [pods], verbs: [get] }
  - { apiGroups: [''], resources: [nodes], verbs: [get, list, watch] }
  - { apiGroups: [''], resources: [nodes/status], verbs: [patch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: ${account} }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ${account} }
subjects: [{ kind: ServiceAccount, name: ${account}, namespace: kube-flannel }]
`;

export interface FlanneldOptions {
  readonly address: string;
  readonly address6?: string;
  /** net-conf.json. */
  readonly netConf: unknown;
  readonly argv?: readonly string[];
}

interface NodeObject {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly podCIDRs?: readonly string[] };
}

export class FlanneldNode {
  readonly name = nodeName;
  readonly #cluster: TestCluster;
  readonly #options: FlanneldOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), 'pintle-flanneld-'));
  readonly #log = join(this.#folder, 'flanneld.log');
  readonly #labPid: number;
  readonly #children: ChildProcess[] = [];
  #holder = 0;
  #program: ChildProcess | undefined;
  #node: Place | undefined;
  #pod: Place | undefined;
  #podCidrs: readonly string[] = [];

  private constructor(cluster: TestCluster, options: FlanneldOptions) {
    this.#cluster = cluster;
    this.#options = options;
    this.#labPid = labMainPid(cluster.record().lab.pid);
  }

  /** Before flanneld runs. `stop` what it resolves to. */
  static async create(cluster: TestCluster, options: FlanneldOptions): Promise<FlanneldNode> {
    const made = new FlanneldNode(cluster, options);
    try {
      await made.#createObjects();
      await made.#createPlaces();
      return made;
    } catch (error) {
      await made.stop();
      throw error;
    }
  }

  /** Of the node. */
  get place(): Place {
    return this.#node!;
  }

  get pod(): Place {
    return this.#pod!;
  }

  get podCidrs(): readonly string[] {
    return this.#podCidrs;
  }

  /** IPv4 first. */
  get podIps(): readonly string[] {
    return this.#podCidrs.map((cidr) => inRange(cidr, 7));
  }

  /** All that flanneld has said since its start. */
  log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  async object(): Promise<NodeObject> {
    return JSON.parse(await this.kubectl('get', 'node', nodeName, '-o', 'json')) as NodeObject;
  }

  async kubectl(...argv: readonly string[]): Promise<string> {
    return this.#kubectl(argv);
  }

  /** FLANNEL_MTU and the others, as flanneld writes them for its CNI plugin. */
  subnetFile(): Readonly<Record<string, string>> {
    const text = this.place.run('cat', `/proc/${this.#holder}/root/run/flannel/subnet.env`);
    return Object.fromEntries(text.split('\n').map((line) => line.split('=') as [string, string]));
  }

  async run(): Promise<void> {
    const log = openSync(this.#log, 'w');
    const enter = ['--target', String(this.#holder), '--net', '--mount'];
    const argv = [
      ...['--kube-subnet-mgr', '--kubeconfig-file', join(this.#folder, 'kubeconfig')],
      ...['--net-config-path', join(this.#folder, 'net-conf.json'), '--subnet-file', '/run/flannel/subnet.env'],
      ...['--iface', 'eth0', '-v', '4', ...(this.#options.argv ?? [])],
    ];
    this.#program = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'nsenter', ...enter, '--', flanneld!, ...argv], {
      stdio: ['ignore', log, log],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', NODE_NAME: nodeName },
    });
    closeSync(log);
    const program = this.#program;
    await eventually(
      () => {
        if (program.exitCode !== null || program.signalCode !== null) throw new Error(`it ended:\n${this.log()}`);
        return this.log().includes('Running backend.') ? true : undefined;
      },
      () => this.log(),
    );
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    if (program !== undefined) await endOf(program, signal);
  }

  async stop(): Promise<void> {
    await this.end();
    await this.#node?.stop();
    await this.#pod?.stop();
    for (const child of this.#children) await endOf(child, 'SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #kubectl(argv: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.#cluster.kubectl(kubectls()[0]!, argv, input);
    if (code !== 0) throw new Error(`kubectl ${argv.join(' ')}: ${stderr}`);
    return stdout.trim();
  }

  async #createObjects(): Promise<void> {
    await this.#kubectl(['apply', '-f', '-'], access);
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName } };
    await this.#kubectl(['create', '-f', '-'], JSON.stringify(node));
    this.#podCidrs = await eventually(async () => (await this.object()).spec.podCIDRs);
    // flanneld ends in a panic on a Node without any annotation: Kubernetes has none such.
    await eventually(async () => (await this.object()).metadata.annotations);
    const token = await this.#kubectl(['create', 'token', account, '-n', 'kube-flannel', '--duration', '2h']);
    const ours = join(this.#cluster.folder, 'nodes', 'node-1', 'kubeconfig');
    const config = parse(readFileSync(ours, 'utf8')) as { users: { user: unknown }[] };
    config.users[0]!.user = { token };
    writeFileSync(join(this.#folder, 'kubeconfig'), JSON.stringify(config), { mode: 0o600 });
    writeFileSync(join(this.#folder, 'net-conf.json'), JSON.stringify(this.#options.netConf));
  }

  async #createPlaces(): Promise<void> {
    const { address, address6 } = this.#options;
    this.#holder = await this.#hold(this.#labPid);
    const holder = String(this.#holder);
    const podHolder = await this.#hold(this.#holder);
    this.#node = new Place(`/proc/${this.#holder}/ns/net`);
    this.#pod = new Place(`/proc/${podHolder}/ns/net`);
    const lab = (...argv: readonly string[]): void => {
      const { status, stderr } = spawnSync(
        'nsenter',
        ['--target', String(this.#labPid), '--net', '--', 'ip', ...argv],
        {
          encoding: 'utf8',
        },
      );
      if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr}`);
    };
    lab('link', 'add', nodeName, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', holder);
    lab('link', 'set', nodeName, 'master', 'underlay', 'up');
    const onNode = (line: string): string => this.place.run('ip', ...line.split(' '));
    const inPod = (line: string): string => this.pod.run('ip', ...line.split(' '));
    onNode('link set lo up');
    onNode('link set eth0 up');
    onNode(`address add ${address}/24 dev eth0`);
    onNode('route add default via 192.168.77.1');
    if (address6 !== undefined) onNode(`address add ${address6}/64 dev eth0 nodad`);
    onNode(`link add pod type veth peer name eth0 netns ${podHolder}`);
    onNode('link set pod up');
    inPod('link set lo up');
    inPod('link set eth0 up');
    for (const family of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])
      this.place.run('sysctl', '-qw', `${family}=1`);
    for (const cidr of this.#podCidrs) {
      const isV6 = cidr.includes(':');
      const [size, options] = isV6 ? ['64', ' nodad'] : ['24', ''];
      onNode(`address add ${inRange(cidr, 1)}/${size} dev pod${options}`);
      inPod(`address add ${inRange(cidr, 7)}/${size} dev eth0${options}`);
      inPod(`${isV6 ? '-6 ' : ''}route add default via ${inRange(cidr, 1)}`);
    }
    await this.pod.serve(80, nodeName);
  }

  /** A process that keeps namespaces of its own, beside those of `target`. */
  async #hold(target: number): Promise<number> {
    const own = ['unshare', '--net', '--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec sleep infinity'];
    const enter = ['nsenter', '--target', String(target), '--net', '--mount', '--'];
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...enter, ...own], { stdio: 'ignore' });
    this.#children.push(child);
    const pid = child.pid!;
    const outside = [process.pid, target].map((one) => readlinkSync(`/proc/${one}/ns/net`));
    await eventually(() => {
      const isSleeping = readFileSync(`/proc/${pid}/comm`, 'utf8') === 'sleep\n';
      return isSleeping && !outside.includes(readlinkSync(`/proc/${pid}/ns/net`)) ? true : undefined;
    });
    return pid;
  }
}

/** 10.244.2.0/24, 7: 10.244.2.7. */
export function inRange(cidr: string, index: number): string {
  const [base = ''] = cidr.split('/');
  return base.includes(':') ? `${base}${index}` : base.replace(/0$/, String(index));
}

async function endOf(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once('exit', done));
  child.kill(signal);
  await ended;
}
