import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import type { ProxyPort } from '../../kernel/contract/index.ts';
import { leanStart } from '../lean-start.ts';
import { attachments } from './support/cluster.ts';
import type { VethAttachment } from '../../netplugins/linux/pods/veth-attachment.ts';
import { runInNetns } from '../../netplugins/linux/namespaces.ts';
import { openNftablesProxy } from './support/nftables-place.ts';
import { createTopology, quiet, settled, snapshot, until, type Place } from './support/topology.ts';
import type { Order } from './support/victim.ts';
import { plainPort } from '../../kernel/conformance/proxy/plain-port.ts';

/** Starts the victim inside `node`, lets it work for `forMs`, kills it. */
async function killWhileWorking(t: ExecutionContext, node: Place, order: Order, forMs: number): Promise<void> {
  const program = fileURLToPath(new URL('./support/victim.js', import.meta.url));
  const child: ChildProcess = runInNetns(node.netns, () =>
    fork(program, { execArgv: [...leanStart], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  t.teardown(() => child.kill('SIGKILL'));
  const begun = new Promise((resolve) => child.once('message', resolve));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.send(order);
  await Promise.race([begun, exited]);
  await new Promise((resolve) => setTimeout(resolve, forMs));
  t.true(child.exitCode === null && child.signalCode === null, 'it was working');
  child.kill('SIGKILL');
  await exited;
}

for (const attachment of ['bridge', 'ptp'] as const)
  test(`kill -9 at any moment of adding and removing leaks nothing: ${attachment}`, async (t) => {
    const { nodes, pod, folder } = createTopology(t, 1);
    const [node] = nodes as [Place];
    const pods = Array.from({ length: 6 }, (_, index) => pod(`pod${index}`));
    const stateDir = `${folder}/state`;
    const open = (): VethAttachment =>
      attachments[attachment]({ stateDir, log: quiet, netns: node.netns, bootId: 'boot-1' });
    const network = { podCidrs: ['10.244.1.0/24'], clusterCidrs: ['10.244.0.0/16'], mtuBytes: 1450 };
    const first = open();
    await first.configure(network);
    await first[Symbol.asyncDispose]();
    const before = snapshot(node);
    for (let round = 0; round < 8; round += 1) {
      await killWhileWorking(
        t,
        node,
        { work: 'attach', attachment, stateDir, netns: pods.map(({ netns }) => netns) },
        (round * 43) % 130,
      );
      const next = open();
      t.teardown(() => next[Symbol.asyncDispose]());
      await next.configure(network);
      const known = await next.list();
      t.is(new Set(known.map(({ ips }) => ips[0])).size, known.length, 'each address once');
      // What was half done is completed by an add of the same sandbox, or undone by gc.
      const answer = await next.add({
        sandboxId: 'pod-0',
        podNamespace: 'x',
        podName: 'x',
        netns: pods[0]!.netns,
        hostPorts: [],
      });
      t.deepEqual(await next.check({ sandboxId: 'pod-0', netns: pods[0]!.netns }), []);
      t.is(answer.ips.length, 1);
      await next.gc(new Set());
      t.deepEqual(await next.list(), []);
      const expected = withoutIndexes(before);
      t.is(await settled(() => withoutIndexes(snapshot(node)), expected), expected, `round ${round}`);
      await next[Symbol.asyncDispose]();
    }
  });

function withoutIndexes(text: string): string {
  return text.replaceAll(/^\d+: /gm, '').replaceAll(/mtu \d+/g, 'mtu');
}

test('kill -9 at any moment of a sync leaves a table that the next instance makes right', async (t) => {
  const { nodes } = createTopology(t, 1);
  const [node] = nodes as [Place];
  const endpoint = { address: '10.244.1.2', port: 80, local: true, ready: true, serving: true, terminating: false };
  const make = (index: number): ProxyPort =>
    plainPort({
      namespace: 'n',
      service: `s${index}`,
      clusterIps: [`10.96.${index >> 8}.${index & 255}`],
      affinitySeconds: index % 50 === 1 ? 60 : undefined,
      endpoints: [endpoint, { ...endpoint, address: '10.244.2.2', local: false }],
    });
  const ports = Array.from({ length: 400 }, (_, index) => make(index));
  const others = Array.from({ length: 400 }, (_, index) => make(1_000 + index));
  const final = {
    nodeAddresses: ['192.168.99.1'],
    clusterCidrs: ['10.244.0.0/16'],
    serviceCidrs: ['10.96.0.0/12'],
    ports: ports.slice(0, 60),
  };
  const tables = new Set<string>();
  for (let round = 0; round < 12; round += 1) {
    await killWhileWorking(t, node, { work: 'proxy', ports, others }, 20 + ((round * 37) % 260));
    const next = openNftablesProxy(node, ['ip']);
    await next.sync(final);
    // A command that the killed one had begun may end a moment later; what it does is put right.
    await until('it has come to rest', async () => (await next.sync(final)).changed === 0);
    await next[Symbol.asyncDispose]();
    const text = node.run('nft', '-j', 'list', 'table', 'ip', 'pintle-proxy');
    const { nftables } = JSON.parse(text) as { nftables: Record<string, { name?: string }>[] };
    const names = nftables
      .flatMap((object) => ['chain', 'map', 'set'].map((kind) => object[kind]?.name))
      .filter((name) => name !== undefined);
    tables.add(
      names
        .map((name) => name.replace(/-[ab]$/, ''))
        .sort()
        .join(' '),
    );
    t.is(new Set(names.filter((name) => /-[ab]$/.test(name)).map((name) => name.slice(-2))).size, 1, 'one generation');
  }
  t.is(tables.size, 1, 'always the same objects, whatever was left');
});
