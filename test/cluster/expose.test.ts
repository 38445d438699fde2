/** `pintle up --expose`: the host reaches pods, Services and NodePorts over one link, which goes with the cluster. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { program, run } from './support/cluster.ts';

/** Runs in a network namespace that plays the host. Prints what a plain client there gets, and its links. */
const script = `
set -e
ip link set lo up
before=$(ip -o link; ip route; ip -6 route)
"$@" > "$FOLDER/out" 2>&1 &
up=$!
while kill -0 $up 2>/dev/null && ! grep -q 'Ctrl-C takes' "$FOLDER/out"; do sleep 0.1; done
service=$(grep -o 'Service 10[0-9.]*' "$FOLDER/out" | cut -d' ' -f2)
pod=$(grep -oE '10\\.244\\.[0-9.]+$' "$FOLDER/out" | head -1)
echo "links $(ip -o link | grep -c pintle)"
six=$("$NODE" -e "$SIX" "$FOLDER/c/server/api.sock" "$pod")
for url in "http://$service/" "http://$pod:8080/" "http://[$six]:8080/"; do
  # What is new is known to each node a moment later.
  "$NODE" -e 'const ask = () => fetch(process.argv[1]).then((r) => r.text()).then((t) => console.log("answer", t.trim()), () => setTimeout(ask, 200)); ask()' "$url"
done
kill -INT $up
wait $up
[ "$before" = "$(ip -o link; ip route; ip -6 route)" ] && echo unchanged
`;

/** The IPv6 address of the pod that has an IPv4 address. */
const six = `require('http').get({ socketPath: process.argv[1], path: '/api/v1/pods' }, (answer) => {
  let text = '';
  answer.on('data', (chunk) => (text += chunk)).on('end', () => {
    const pods = JSON.parse(text).items.map(({ status }) => status.podIPs.map(({ ip }) => ip));
    console.log(pods.find(([four]) => four === process.argv[2])[1]);
  });
});`;

const config = `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
cluster:
  podCidrs: [10.244.0.0/16, "fd00:10:244::/56"]
  serviceCidrs: [10.96.0.0/12, "fd00:10:96::/112"]
`;

test('the host reaches the demo by both families, and is as before afterwards', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: --expose needs root');
  const folder = mkdtempSync(join(tmpdir(), 'pintle-expose-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'dual.yaml'), config);
  const up = [process.execPath, program, 'up', '--demo', '--expose', '--nodes', '2', '--state-dir', join(folder, 'c')];
  up.push('--config', join(folder, 'dual.yaml'));
  const { code, stdout, stderr } = await run(
    'unshare',
    ['--net', '--fork', '--kill-child', 'sh', '-c', script, 'expose', ...up],
    {
      env: { ...process.env, FOLDER: folder, NODE: process.execPath, SIX: six },
    },
  );
  const printed = readFileSync(join(folder, 'out'), 'utf8');
  t.is(code, 0, `${stderr}\n${stdout}\n${printed}`);
  t.regex(stdout, /^links 1\nanswer demo-\S+\nanswer demo-\S+\nanswer demo-\S+\nunchanged\n$/);
  t.regex(printed, /link to this host/);
  return undefined;
});
