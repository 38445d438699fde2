/**
 * What every proxy mode does with the service range beyond the kit's case: both families, on a network where such packets
 * would be answered if they were routed away, and what it leaves alone. Owns some addresses, routes and an nft table on the
 * places it is given, all gone after the test.
 */
import type { ExecutionContext } from 'ava';
import type { BedMember } from './proxy-bed.ts';
import { answerMs as timeoutMs, type Place } from './topology.ts';

interface Network {
  readonly one: BedMember;
  readonly two: BedMember;
  readonly underlay: Place;
  /** Whether pods have IPv6 addresses. */
  readonly isDual: boolean;
  /** Makes the proxy of node 0 serve no more than one Service, at 10.96.0.1. */
  sync(): Promise<unknown>;
}

const unknown = ['10.96.99.99', 'fd96::6363'] as const;
const beyond = ['10.112.0.1', 'fd97::1'] as const;
const nodesOwn = ['10.96.7.7', 'fd96::707'] as const;
const foreign = '10.96.8.8';
const [port, ownPort] = [9300, 9301];

export async function checkServiceRange(t: ExecutionContext, network: Network): Promise<void> {
  const { one, two, underlay, isDual } = network;
  const change = (place: Place, undo: readonly string[], ...argv: readonly string[]): void => {
    const [command = '', ...args] = argv;
    place.run(command, ...args);
    const [undoCommand = '', ...undoArgs] = undo;
    t.teardown(() => place.run(undoCommand, ...undoArgs));
  };
  const address = (place: Place, ip: string): void => {
    const rest = [`${ip}/${ip.includes(':') ? 128 : 32}`, 'dev', 'lo'];
    change(place, ['ip', 'address', 'del', ...rest], 'ip', 'address', 'add', ...rest);
  };
  const route = ['default', 'via', 'fd99::ffff'];
  change(one.node, ['ip', '-6', 'route', 'del', ...route], 'ip', '-6', 'route', 'add', ...route);
  for (const ip of [...unknown, ...beyond]) address(underlay, ip);
  for (const ip of nodesOwn) address(one.node, ip);
  for (const [place, number, name] of [
    [underlay, port, 'away'],
    [one.node, ownPort, 'own'],
  ] as const) {
    await place.serve(number, name, '::');
    t.teardown(async () => {
      await place.ask({ verb: 'close', port: number });
      await place.ask({ verb: 'close', port: -number });
    });
  }
  // Another's proxy, for Services that are labelled as its own.
  const table = ['nft', 'add', 'table', 'ip', 'another'];
  change(one.node, ['nft', 'delete', 'table', 'ip', 'another'], ...table);
  one.node.run('nft', 'add chain ip another pre { type nat hook prerouting priority -100; }');
  one.node.run('nft', `add rule ip another pre ip daddr ${foreign} tcp dport 80 dnat to ${two.ip}:80`);

  const asked = async (ips: readonly [string, string], to = port): Promise<string[]> => {
    const answers: string[] = [];
    for (const [ip, clients] of [
      [ips[0], [one.pod, one.node]],
      [ips[1], isDual ? [one.pod, one.node] : [one.node]],
    ] as const)
      for (const client of clients) {
        const { answer, error } = await client.tcp(ip, to, { timeoutMs });
        answers.push(error ?? answer?.split(' ')[0] ?? '');
      }
    return [...new Set(answers)];
  };
  t.deepEqual(await asked(unknown), ['away'], 'without a proxy it is routed away, and answered there');
  await network.sync();
  t.deepEqual(await asked(unknown), ['ECONNREFUSED']);
  for (const ip of unknown)
    t.deepEqual(await one.node.udp(ip, port, { timeoutMs }), { error: 'ECONNREFUSED' }, `UDP to ${ip}`);
  t.deepEqual(await asked(beyond), ['away'], 'beyond the range');
  t.deepEqual(await asked(nodesOwn, ownPort), ['own'], "the node's own");
  t.regex((await one.pod.tcp(foreign, 80, { timeoutMs })).answer ?? '', /^node-1 /, "another's translation");
}
