import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { RootView } from '../../../plugins/runtimes/process/root-view.ts';

function open(t: ExecutionContext): {
  readonly view: RootView;
  readonly lower: string;
  readonly upper: string;
  readonly folder: string;
} {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-root-view-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [lower, upper] = [join(folder, 'lower'), join(folder, 'upper')];
  for (const path of [join(lower, 'etc'), join(lower, 'run'), join(lower, 'var'), upper])
    mkdirSync(path, { recursive: true });
  return { view: new RootView([{ prefix: '/', upper, lower }]), lower, upper, folder };
}

test('links are followed inside the image only', (t) => {
  const { view, lower } = open(t);
  symlinkSync('/run', join(lower, 'var/run'));
  symlinkSync('../../../../etc', join(lower, 'var/up'));
  symlinkSync('run', join(lower, 'var/chain'));
  const cases = {
    '/var/run/x/y': '/run/x/y',
    '/var/up/z': '/etc/z',
    '/var/chain/q': '/run/q',
    '/a/./b/../c': '/a/c',
    '/../..': '/',
  };
  for (const [path, expected] of Object.entries(cases)) t.is(view.resolve(path), expected, path);
});

test('a circle of links is refused', (t) => {
  const { view, lower } = open(t);
  symlinkSync('b', join(lower, 'a'));
  symlinkSync('a', join(lower, 'b'));
  t.throws(() => view.resolve('/a/x'), { message: /symbolic links/ });
});

test('mount points are made in the upper folder, with the modes of the image', (t) => {
  const { view, lower, upper } = open(t);
  mkdirSync(join(lower, 'srv'), { mode: 0o750 });
  view.makeMountPoint('/srv/data/deep', 'folder');
  view.makeMountPoint('/etc/app.conf', 'file');
  t.is(lstatSync(join(upper, 'srv')).mode & 0o777, 0o750);
  t.true(lstatSync(join(upper, 'srv/data/deep')).isDirectory());
  t.true(lstatSync(join(upper, 'etc/app.conf')).isFile());
  t.false(existsSync(join(lower, 'srv/data')), 'the image was changed');
});

test('what the image has is used as it is, and kinds must fit', (t) => {
  const { view, lower, upper } = open(t);
  writeFileSync(join(lower, 'etc/file'), '');
  view.makeMountPoint('/etc', 'folder');
  t.false(existsSync(join(upper, 'etc')));
  t.throws(() => view.makeMountPoint('/etc', 'file'), { message: /folder/ });
  t.throws(() => view.makeMountPoint('/etc/file', 'folder'), { message: /file/ });
  t.throws(() => view.makeMountPoint('/', 'folder'), { message: /mounted at \// });
});

test('a volume covers what is below it', (t) => {
  const { view, folder, upper } = open(t);
  const volume = join(folder, 'volume');
  mkdirSync(volume);
  view.cover({ prefix: '/data', upper: volume, lower: volume });
  view.makeMountPoint('/data/sub', 'folder');
  t.true(existsSync(join(volume, 'sub')));
  t.false(existsSync(join(upper, 'data')));
  view.cover({ prefix: '/fixed', upper: undefined, lower: volume });
  t.throws(() => view.makeMountPoint('/fixed/new', 'folder'), { message: /read-only/ });
  t.notThrows(() => view.makeMountPoint('/fixed/sub', 'folder'));
});

test('files of the runtime take the place of links in the image', (t) => {
  const { view, lower, upper } = open(t);
  symlinkSync('/run/resolve/stub', join(lower, 'etc/resolv.conf'));
  t.true(view.writeFile('/etc/resolv.conf', 'nameserver 192.0.2.1\n'));
  t.is(readFileSync(join(upper, 'etc/resolv.conf'), 'utf8'), 'nameserver 192.0.2.1\n');
});
