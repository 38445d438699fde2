/** AVA's command, with a TAP reporter that survives every failure. */
import { mendTapReporter } from './tap-reporter.ts';

mendTapReporter();
const command = '../../node_modules/ava/entrypoints/cli.mjs';
await import(command);
