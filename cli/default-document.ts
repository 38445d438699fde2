import { apiVersion, configKind } from '../kernel/config/cluster-configuration.ts';
import { defaults } from './default-config.ts';

/** The default config in the form of the file: checking it gives the defaults again. */
export const defaultDocument = {
  apiVersion,
  kind: configKind,
  cluster: defaults.cluster,
  plugins: {
    load: [],
    use: Object.fromEntries(
      Object.entries(defaults.use).map(([kind, choices]) => [kind, choices.length === 1 ? choices[0] : choices]),
    ),
  },
} as const;
