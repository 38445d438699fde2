import { existsSync, readFileSync } from 'node:fs';
import test from 'ava';
import iptables from '../../netplugins/proxies/iptables/index.ts';
import ipvs from '../../netplugins/proxies/ipvs/index.ts';
import nftables from '../../netplugins/proxies/nftables/index.ts';
import userspace from '../../netplugins/proxies/userspace/index.ts';

const text = readFileSync('docs/proxies.md', 'utf8');
const rows = text.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
const plugins = { nftables, iptables, ipvs, userspace };
const names = Object.keys(plugins) as (keyof typeof plugins)[];

test('the table of proxy modes says what the plugins say', (t) => {
  const header = rows.find((cells) => cells[1] === 'capability');
  t.deepEqual(header?.slice(2, 6), names);
  const listed = rows.filter((cells) => /^`[a-z0-9-]+`$/.test(cells[1] ?? ''));
  const all = new Set(names.flatMap((name) => plugins[name].capabilities ?? []));
  t.deepEqual(new Set(listed.map((cells) => (cells[1] ?? '').slice(1, -1))), all);
  for (const [, capability = '', ...answers] of listed)
    for (const [index, name] of names.entries()) {
      const has = plugins[name].capabilities?.includes(capability.slice(1, -1) as never) === true;
      t.is(answers[index], has ? 'yes' : 'no', `${name} ${capability}`);
    }
});

test('each proxy says its capabilities in its README, and tests that the document names exist', (t) => {
  for (const name of names) {
    const readme = readFileSync(`netplugins/proxies/${name}/README.md`, 'utf8').split('# What it does')[0] ?? '';
    const said = readme.split('Not `')[0] ?? '';
    t.deepEqual(
      new Set(
        [...said.matchAll(/`([a-z0-9-]+)`/g)]
          .map(([, each = '']) => each)
          .filter((each) => each !== name && each !== 'proxy'),
      ),
      new Set(plugins[name].capabilities),
      name,
    );
  }
  for (const [path] of text.matchAll(/test\/[\w/-]+\.test\.ts/g)) t.true(existsSync(path), path);
});
