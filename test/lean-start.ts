/** For fork(): of the options of the test's own process only how late V8 optimizes (ava.node-arguments.js), not AVA's. */
export const leanStart: readonly string[] = process.execArgv.filter((word) => word.startsWith('--interrupt-budget='));
