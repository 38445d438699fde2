/**
 * Runs as an ordinary user is: root of a network namespace of its own, whose netlink sockets take no more than anybody's. A
 * table that cannot be built upon, but serves, is replaced by that of many Services while connections to one of them go on.
 * Says how many of these there were, and what became of those that failed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { endpoint, port, proxyState, vip } from './service-ports.ts';
import { quiet } from './topology.ts';
import { NftablesProxy } from '../../../netplugins/proxies/nftables/nftables-proxy.ts';

const count = Number(process.argv[2]);
const [node, pod] = ['192.0.2.1', '10.244.1.2'];
const sh = (script: string): string => execFileSync('/bin/sh', ['-ec', script], { encoding: 'utf8' });
sh(`ip link set lo up; ip address add ${node}/32 dev lo; ip address add ${pod}/32 dev lo; ip route add default dev lo`);

// What packets meet works; that the proxy's own chains are others, or elsewhere, lets nothing be built beside it.
const foreign = ['ip', 'ip6'].map(
  (family) => `table ${family} pintle-proxy {
  map slots-0-a { type inet_service : verdict; elements = { 1 : goto old }; }
  chain old { accept; }
  chain nat-prerouting { type filter hook input priority 7; tcp dport vmap @slots-0-a; }
}`,
);
execFileSync('/usr/sbin/nft', ['-f', '-'], {
  input: `${foreign.join('\n')}
table ip pintle-proxy { chain nat-output { type nat hook output priority -90; ip daddr ${vip} tcp dport 8000 dnat to ${pod}:8080; }; }
`,
});

// In a process of their own: this one is busy with the table.
const connections = `
  const { connect, createServer } = require('node:net');
  const failures = {}; let tried = 0; let isOver = false;
  process.stdin.resume().on('end', () => (isOver = true));
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(8080, '${pod}', async () => {
    while (!isOver) {
      tried += 1;
      await new Promise((resolve) => {
        const fail = (why) => { failures[why] = (failures[why] ?? 0) + 1; socket.destroy(); resolve(); };
        const socket = connect({ host: '${vip}', port: 8000 }).setTimeout(30_000, () => fail('no answer'));
        socket.on('error', ({ code }) => fail(code)).on('data', () => { socket.destroy(); resolve(); });
      });
      if (tried === 20) process.stderr.write('begun');
    }
    process.stdout.write(JSON.stringify({ tried, failures }));
    server.close();
  });`;
const connecting = spawn(process.execPath, ['-e', connections], { stdio: 'pipe' });
let said = '';
connecting.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
const ended = new Promise((resolve) => connecting.once('close', resolve));
await Promise.race([ended, new Promise((resolve) => connecting.stderr.once('data', resolve))]);

const many = Array.from({ length: count }, (_, index) => {
  const place = `${index >> 8}.${index & 255}`;
  const words = `${(index >> 8).toString(16)}:${(index & 255).toString(16)}`;
  return port({
    service: `s${index}`,
    clusterIps: [`10.97.${place}`, `fd96::${words}`],
    endpoints: [endpoint(`10.245.${place}`), endpoint(`fd45::${words}`)],
  });
});
const proxy = new NftablesProxy({ families: ['ip', 'ip6'], log: quiet, clock: { now: () => Date.now() } });
const wanted = port({ endpoints: [endpoint(pod, { port: 8080, local: true })] });
const { changed } = await proxy.sync(proxyState([node], [wanted, ...many]));
const { changed: again } = await proxy.sync(proxyState([node], [wanted, ...many]));
connecting.stdin.end();
await ended;
const tables = sh('/usr/sbin/nft list tables').trim().split('\n');
const left = sh('/usr/sbin/nft list chain ip pintle-proxy old 2>&1 || true').includes('No such file');
const elements = ['ip', 'ip6'].map(
  (family) => sh(`/usr/sbin/nft list map ${family} pintle-proxy slots-0-a`).match(/ \. tcp \. 8000 :/g)?.length,
);
await proxy.purge();
const after = sh('/usr/sbin/nft list tables').trim();
await proxy[Symbol.asyncDispose]();
console.log(JSON.stringify({ ...JSON.parse(said), changed, again, tables, isOldGone: left, elements, after }));
