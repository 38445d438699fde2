/** What the command line uses. */
export { compareResults, type Comparison } from './method/compare-results.ts';
export { readResult, resultSchema, type Result } from './method/result.ts';
export { sizes, type Size } from './method/suite.ts';
export type { BenchEvent, BenchPlan, SuitePlan } from './run/plan.ts';
export { runBench } from './run/run-bench.ts';
export { benchTargets, hostTarget, type BenchTarget } from './run/targets.ts';
export { runPlan } from './run/run-plan.ts';
export { servePlugins } from './bed/plugin-process.ts';
export { suiteNames } from './suites/suites.ts';
export { markdownOf, csvOf, comparisonText } from './report/tables.ts';
export { htmlOf } from './report/html.ts';
