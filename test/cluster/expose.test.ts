/** `pintle up --expose`: the host reaches pods, Services and NodePorts over one link, which goes with the cluster. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { program, run } from './support/cluster.ts';

/** Runs in a network namespace that plays the host. Prints what a plain client there gets, and its links. */
const script = `
set -e
ip link set lo up
before=$(ip -o link; ip route)
"$@" > "$FOLDER/out" 2>&1 &
up=$!
while kill -0 $up 2>/dev/null && ! grep -q 'Ctrl-C takes' "$FOLDER/out"; do sleep 0.1; done
service=$(grep -o 'Service 10[0-9.]*' "$FOLDER/out" | cut -d' ' -f2)
pod=$(grep -oE '10\\.244\\.[0-9.]+$' "$FOLDER/out" | head -1)
echo "links $(ip -o link | grep -c pintle)"
for url in "http://$service/" "http://$pod:8080/"; do
  "$NODE" -e 'fetch(process.argv[1]).then((r) => r.text()).then((t) => console.log("answer", t.trim()))' "$url"
done
kill -INT $up
wait $up
[ "$before" = "$(ip -o link; ip route)" ] && echo unchanged
`;

test('the host reaches the demo, and is as before afterwards', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: --expose needs root');
  const folder = mkdtempSync(join(tmpdir(), 'pintle-expose-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const up = [process.execPath, program, 'up', '--demo', '--expose', '--nodes', '2', '--state-dir', join(folder, 'c')];
  const { code, stdout, stderr } = await run(
    'unshare',
    ['--net', '--fork', '--kill-child', 'sh', '-c', script, 'expose', ...up],
    {
      env: { ...process.env, FOLDER: folder, NODE: process.execPath },
    },
  );
  const printed = readFileSync(join(folder, 'out'), 'utf8');
  t.is(code, 0, `${stderr}\n${stdout}\n${printed}`);
  t.regex(stdout, /^links 1\nanswer demo-\S+\nanswer demo-\S+\nunchanged\n$/);
  t.regex(printed, /link to this host/);
  return undefined;
});
