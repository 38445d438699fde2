import test from 'ava';
import { boundingSet, formatBoundingSet } from '../../../plugins/runtimes/process/capability-sets.ts';
import { cgroupKey } from '../../../plugins/runtimes/process/cgroups.ts';
import { bindEntry, canBeLayer, formatFstab } from '../../../plugins/runtimes/process/fstab.ts';
import { parseIdMap } from '../../../plugins/runtimes/process/host-facts.ts';
import { canonicalName } from '../../../plugins/runtimes/process/images/image-store.ts';
import { checkId } from '../../../plugins/runtimes/process/layout.ts';
import { isWithin, keptFlags, parseMountInfo } from '../../../plugins/runtimes/process/mount-table.ts';
import { parseStat } from '../../../plugins/runtimes/process/procfs.ts';

test('the start time of a process is found behind any name', (t) => {
  const rest = 'S 1 10 10 0 -1 4194560 222 0 0 0 7 8 1 2 20 0 1 0 402554 2654208 385';
  for (const name of ['dash', 'a b', ') S 1 (', 'x) R 9 9']) {
    const stat = parseStat(`42 (${name}) ${rest}\n`);
    t.deepEqual([stat?.pid, stat?.state, stat?.parent, stat?.startTicks, stat?.cpuTicks], [42, 'S', 1, '402554', 18]);
  }
  for (const text of [undefined, '', '42', '42 (dash', '42 (dash) S 1']) t.is(parseStat(text), undefined);
});

test('paths keep their blanks, backslashes and number signs in a mount table', (t) => {
  const text = formatFstab([bindEntry('/a b\\c#d\te', '/t', 'ro')]);
  t.is(text, '/a\\040b\\134c\\043d\\011e /t none bind,ro 0 0\n');
  t.deepEqual(['/a', '/a,b', '/a:b', '/a b', '/a\\b', '/a"b'].map(canBeLayer), [
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

const mountInfo = [
  '22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
  '23 22 0:5 / /proc rw,nosuid,nodev,noexec - proc proc rw',
  '24 22 0:30 /sub\\040dir /home/a\\040b rw,nosuid,nodev shared:7 - ext4 /dev/vdb rw',
  '25 22 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct',
].join('\n');

test('mountinfo is read with its escapes and optional fields', (t) => {
  const [, , home, cgroup] = parseMountInfo(mountInfo);
  t.deepEqual([home?.target, home?.root, home?.type], ['/home/a b', '/sub dir', 'ext4']);
  t.deepEqual(cgroup?.superOptions, ['rw', 'cpu', 'cpuacct']);
});

test('a read-only bind keeps the flags of the mount that it comes from', (t) => {
  const table = parseMountInfo(mountInfo);
  t.deepEqual(keptFlags('/home/a b/volume', table), ['nosuid', 'nodev']);
  t.deepEqual(keptFlags('/home/a bc', table), []);
  t.deepEqual(keptFlags('/proc', table), ['nosuid', 'nodev', 'noexec']);
  t.deepEqual([isWithin('/a/b', '/a'), isWithin('/ab', '/a'), isWithin('/x', '/')], [true, false, true]);
});

test('capabilities are added to and taken from the default set', (t) => {
  const spec = { privileged: false, addCapabilities: [], dropCapabilities: [] };
  const plain = boundingSet(spec) ?? [];
  t.true(plain.includes('chown'));
  for (const name of ['mknod', 'sys_admin', 'net_admin', 'sys_ptrace']) t.false(plain.includes(name), name);
  t.deepEqual(boundingSet({ ...spec, dropCapabilities: ['all'] }), []);
  t.deepEqual(boundingSet({ ...spec, dropCapabilities: ['ALL'], addCapabilities: ['NET_BIND_SERVICE'] }), [
    'net_bind_service',
  ]);
  t.false(
    boundingSet({ ...spec, addCapabilities: ['ALL'], dropCapabilities: ['CAP_SYS_ADMIN'] })?.includes('sys_admin'),
  );
  t.is(boundingSet({ ...spec, privileged: true }), undefined);
  t.throws(() => boundingSet({ ...spec, addCapabilities: ['FLY'] }), { message: /FLY/ });
  t.is(formatBoundingSet(['kill', 'setuid']), '-all,+kill,+setuid');
  t.is(formatBoundingSet([]), '-all');
});

test('an id map says which ids there are', (t) => {
  const whole = parseIdMap('         0          0 4294967295\n');
  t.deepEqual([whole.isWhole, whole.has(0), whole.has(65534)], [true, true, true]);
  const one = parseIdMap('         0      65534          1\n');
  t.deepEqual([one.isWhole, one.has(0), one.has(1)], [false, true, false]);
  const two = parseIdMap('0 1000 1\n1 100000 65536\n');
  t.deepEqual([two.isWhole, two.has(65536), two.has(65537)], [false, true, false]);
});

test('ids that are no harmless file names are refused', (t) => {
  for (const id of ['a', '0-b_c.d', 'x'.repeat(200)]) t.notThrows(() => checkId(id, 'container'));
  for (const id of ['', '.', '..', '.a', 'a/b', 'a b', 'a\n', 'x'.repeat(201), '-a'])
    t.throws(() => checkId(id, 'sandbox'), undefined, id);
});

test('image names are read as docker reads them', (t) => {
  const cases = {
    busybox: 'docker.io/library/busybox:latest',
    'busybox:1': 'docker.io/library/busybox:1',
    'kit/app': 'docker.io/kit/app:latest',
    'registry.example/app': 'registry.example/app:latest',
    'localhost:5000/app': 'localhost:5000/app:latest',
    'localhost/app:2': 'localhost/app:2',
    'a/b@sha256:00': 'docker.io/a/b@sha256:00',
    host: 'host',
    'host:latest': 'host',
    'docker.io/library/host:latest': 'host',
    'host:1': 'docker.io/library/host:1',
    'kit/host': 'docker.io/kit/host:latest',
  };
  for (const [name, expected] of Object.entries(cases)) t.is(canonicalName(name), expected);
});

test('a cgroup folder names the state folder', (t) => {
  t.is(decodeURIComponent(cgroupKey('/var/lib/a b')), '/var/lib/a b');
  t.false(cgroupKey('/a/b').includes('/'));
  t.true(cgroupKey(`/${'x'.repeat(300)}`).length <= 200);
});
