/** node out/bench/crash/main.js [--kills 1000] [--seed N]: the long crash run; exit code 3 when a promise was broken. */
import { parseArgs } from 'node:util';
import { runCrashes } from './run-crashes.ts';
import { createStoreSystem } from './store-system.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '1000' }, seed: { type: 'string' } },
});
const kills = Number(values.kills);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
if (!Number.isSafeInteger(kills) || kills < 1 || !Number.isSafeInteger(seed)) {
  console.error('--kills and --seed take a number');
  process.exit(2);
}
const system = await createStoreSystem('lmdb', new URL('../../plugins/stores/lmdb/index.js', import.meta.url));
const began = performance.now();
console.log(`${kills} kills of ${system.name} under write load, seed ${seed}`);
try {
  const report = await runCrashes(system, {
    kills,
    seed,
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
