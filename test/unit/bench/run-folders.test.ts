import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { fileSystemOf, newDiskFolder, newFolder, openRunFolders, runFolders } from '../../../bench/bed/run-folders.ts';

test('stores are kept apart from the rest, and all of a run goes with it', (t) => {
  const place = mkdtempSync(join(tmpdir(), 'pintle-run-folders-'));
  t.teardown(() => rmSync(place, { recursive: true, force: true }));
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = place;
  const close = openRunFolders(false);
  const [agents = '', stores = ''] = runFolders();
  t.is(dirname(newFolder('bed')), agents);
  t.is(dirname(newDiskFolder('store')), stores);
  t.not(agents, stores);
  t.is(tmpdir(), agents, "plugins' own temporary files");
  close();
  t.false(existsSync(dirname(agents)));
  t.is(process.env['TMPDIR'], place);
  t.is(dirname(newDiskFolder('store')), place, 'outside a run');
  if (before === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = before;
});

test('the file system of a path is that of the innermost mount', (t) => {
  t.is(fileSystemOf('/proc/self/status'), 'proc');
  t.is(fileSystemOf('/sys/kernel'), 'sysfs');
  t.not(fileSystemOf('/processes'), 'proc');
});
