import test from 'ava';
import { ownFolder } from '../../../plugins/runtimes/process/own-folder.ts';

test('all of Pintle is hidden, and nothing else', (t) => {
  const cases = {
    '/var/elsewhere': '/var/elsewhere',
    '/data/agent/runtime/process': '/data/agent',
    '/tmp/c/nodes/node-1/agent/runtime/process': '/tmp/c',
    '/var/lib/pintle/agent/runtime/process': '/var/lib/pintle',
    '/home/me/.local/state/pintle/c/nodes/n/agent/runtime/process': '/home/me/.local/state/pintle',
    '/home/me/pintle/state/runtime/process': '/home/me/pintle/state',
  };
  for (const [stateDir, expected] of Object.entries(cases)) t.is(ownFolder(stateDir), expected);
});
