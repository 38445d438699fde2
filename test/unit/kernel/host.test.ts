import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { hostFacts } from '../../../kernel/host/host-facts.ts';
import { openLog, quietLog } from '../../../kernel/host/logger.ts';

test('host facts are those of this host', (t) => {
  const host = hostFacts();
  t.is(host.kernelRelease, release());
  t.true(host.command('sh')?.startsWith('/'));
  t.is(host.command('no-such-command-anywhere'), undefined);
  t.true(host.exists('/proc/self'));
  t.false(host.exists('/proc/none'));
  t.regex(host.readText('/proc/self/status') ?? '', /^Name:/);
  t.is(host.readText('/proc/none'), undefined);
  t.is(host.readText('/proc'), undefined);
  t.is(typeof host.isPrivileged, 'boolean');
  if (process.geteuid?.() !== 0) t.false(host.isRoot);
});

test('a command is an executable file, not a folder or a plain file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-host-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'tool');
  writeFileSync(file, '#!/bin/sh\n', { mode: 0o644 });
  const host = hostFacts();
  t.is(host.command(file), undefined);
  chmodSync(file, 0o755);
  t.is(host.command(file), file);
  t.is(host.command(folder), undefined);
});

function logged(format: 'json' | 'text', level: 'info' | 'debug'): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-log-'));
  try {
    const file = join(folder, 'deep', 'pintle.log');
    const log = openLog({ level, format, file }).of('overlay/vxlan');
    log.debug('hidden unless asked for');
    log.info('joined', { mtuBytes: 1450 });
    log.warn('two\nlines');
    log.error('broken', { error: new Error('x').message, time2: 'y' });
    return readFileSync(file, 'utf8').trimEnd().split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('plain lines: time, level, part, message, fields', (t) => {
  const lines = logged('text', 'info').map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, 'T'));
  t.deepEqual(lines, [
    'T info  overlay/vxlan: joined mtuBytes=1450',
    'T warn  overlay/vxlan: two',
    '    lines',
    'T error overlay/vxlan: broken error="x" time2="y"',
  ]);
});

test('JSON: one object a line', (t) => {
  const entries = logged('json', 'debug').map((line) => JSON.parse(line) as Record<string, unknown>);
  t.is(entries.length, 4);
  t.like(entries[1], { level: 'info', part: 'overlay/vxlan', message: 'joined', mtuBytes: 1450 });
  t.regex(String(entries[1]?.['time']), /^\d{4}-/);
});

test('the quiet log says nothing', (t) => {
  t.notThrows(() => quietLog.of('x').error('nobody hears this'));
});
