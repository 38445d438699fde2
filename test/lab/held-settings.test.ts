import { existsSync } from 'node:fs';
import test from 'ava';
import { HeldSettings } from '../../netplugins/linux/held-settings.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { createTopology, type Place } from './support/topology.ts';

const name = 'net.ipv4.conf.eth0.send_redirects';

function open(t: { teardown(undo: () => unknown): void }) {
  const { nodes, folder } = createTopology(t, 1);
  const [node] = nodes as [Place];
  const file = `${folder}/held/settings.json`;
  return { node, file, held: (bootId = 'boot-1') => new HeldSettings(file, bootId, node) };
}

test('what was changed is put back, by another instance too, and the record is gone', (t) => {
  const { node, held, file } = open(t);
  writeSysctl(name, 1, node);
  held().hold(name, 0);
  held().hold(name, 0);
  t.is(readSysctl(name, node), '0');
  held().restore();
  held().restore();
  t.is(readSysctl(name, node), '1');
  t.false(existsSync(file));
});

test('what had the value already, or has another one now, is left alone', (t) => {
  const { node, held } = open(t);
  writeSysctl(name, 0, node);
  held().hold(name, 0);
  held().restore();
  t.is(readSysctl(name, node), '0', 'it was so before');
  held().hold('net.ipv4.ip_default_ttl', 77);
  writeSysctl('net.ipv4.ip_default_ttl', 99, node);
  held().restore();
  t.is(readSysctl('net.ipv4.ip_default_ttl', node), '99', "somebody else's");
});

test('after a reboot there is nothing to put back', (t) => {
  const { node, held } = open(t);
  writeSysctl(name, 1, node);
  held().hold(name, 0);
  held('boot-2').restore();
  t.is(readSysctl(name, node), '0');
});
