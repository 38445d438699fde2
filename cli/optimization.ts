/**
 * When V8 optimizes. While a command starts, thousands of functions run a few times each, and V8 11, that of Node 20, hands
 * what has run for some kilobytes of bytecode to its optimizing compiler: a fifth of the processor time of a start, for code
 * that hardly runs again. Later versions hold back by themselves, and do not know the flag.
 */
import { setFlagsFromString } from 'node:v8';

const isEager = process.versions.v8.startsWith('11.');
/** Bytes of bytecode that a function runs before it is looked at: a hot one gets there within some milliseconds too. */
const startBudget = 2_000_000;
/** V8's own. */
const usualBudget = 67_584;

export function optimizeLate(): void {
  setBudget(startBudget);
}

/** For what goes on once the start is over. */
export function optimizeAsUsual(): void {
  setBudget(usualBudget);
}

function setBudget(bytes: number): void {
  if (isEager) setFlagsFromString(`--interrupt-budget=${bytes}`);
}
