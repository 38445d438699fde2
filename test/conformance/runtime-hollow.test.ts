import test from 'ava';
import { openRuntime, runtimeConformance } from '../../kernel/conformance/runtime.ts';

const module = new URL('../../plugins/runtimes/hollow/index.js', import.meta.url).href;

runtimeConformance(test, {
  name: 'hollow',
  capabilities: ['images'],
  image: 'registry.example/app:1',
  module,
  open: (stateDir) => openRuntime(module, stateDir),
  behave: ({ say = [], exitCode }) => ({
    env: [
      ...(say.length > 0 ? [{ name: 'HOLLOW_LOG', value: say.join('\n') }] : []),
      ...(exitCode === undefined ? [] : [{ name: 'HOLLOW_EXIT_CODE', value: String(exitCode) }]),
    ],
  }),
});
