/** The suites by name. The code of one is loaded when it is asked for. */
import type { Suite } from '../method/suite.ts';
import type { SuiteContext } from './selection.ts';

type Open = (context: SuiteContext) => Promise<Suite>;

export const suites: Readonly<Record<string, Open>> = {
  net: async (context) => (await import('./net/net-suite.ts')).netSuite(context),
};

export const suiteNames: readonly string[] = Object.keys(suites);
