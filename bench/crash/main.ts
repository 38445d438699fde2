/**
 * The long crash run; exit code 3 when a promise was broken.
 *
 *     node out/bench/crash/main.js [--system store|server] [--kills 1000] [--seed N] [--load-ms 120]
 *       [--config FILE]
 */
import { parseArgs } from 'node:util';
import { runCrashes } from './run-crashes.ts';
import { createServerSystem } from './server-system.ts';
import { createStoreSystem } from './store-system.ts';

const { values } = parseArgs({
  options: {
    system: { type: 'string', default: 'store' },
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string' },
    'load-ms': { type: 'string' },
    config: { type: 'string' },
  },
});
const kills = Number(values.kills);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (values.system !== 'store' && values.system !== 'server') {
  console.error(`--system is ${values.system}; expected store (the lmdb store) or server (pintle server)`);
  process.exit(2);
}
// A server needs a while longer than a store until its first write.
const longestLoadMs = Number(values['load-ms'] ?? (values.system === 'server' ? 400 : 120));
if (!Number.isSafeInteger(kills) || kills < 1 || !Number.isSafeInteger(seed) || !(longestLoadMs >= 0)) {
  console.error('--kills, --seed and --load-ms take a number');
  process.exit(2);
}
const system =
  values.system === 'server'
    ? await createServerSystem(values.config)
    : await createStoreSystem('lmdb', new URL('../../plugins/stores/lmdb/index.js', import.meta.url));
const began = performance.now();
console.log(`${kills} kills of ${system.name} under write load, seed ${seed}`);
try {
  const report = await runCrashes(system, {
    kills,
    seed,
    longestLoadMs,
    onRound: (round, { acknowledged, unanswered, unansweredDone, watchEvents }) => {
      if (round % 50 === 0)
        console.log(
          `${round} kills: ${acknowledged} acknowledged writes, ${unanswered} cut off (${unansweredDone} of them written), ${watchEvents} watch events`,
        );
    },
  });
  const seconds = Math.round((performance.now() - began) / 1_000);
  for (const violation of report.violations.slice(0, 50)) console.error(violation);
  console.log(
    `${report.kills} kills in ${seconds} s: ${report.acknowledged} acknowledged writes, ${report.unanswered} cut off, ` +
      `${report.watchEvents} watch events, ${report.violations.length} broken promises`,
  );
  process.exitCode = report.violations.length === 0 ? 0 : 3;
} finally {
  await system.dispose();
}
