import type { ClusterFacts, Kind } from '../contract/index.ts';
import type { ConfigPath, Locate } from './config-issue.ts';

/** One plugin named in the config, with what is to be validated against its schema. */
export interface PluginChoice {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Where it stands in the file; undefined: it comes from the defaults. */
  readonly path?: ConfigPath | undefined;
}

export interface ClusterSection extends ClusterFacts {
  /** How many nodes `pintle up` starts. */
  readonly nodes: number;
}

/** A checked config, the defaults filled in. */
export interface ClusterConfiguration {
  readonly cluster: ClusterSection;
  readonly plugins: {
    /** Modules to import: paths relative to `directory`, or package names. */
    readonly load: readonly string[];
    /** For a kind of which one runs: the order of preference. For the others: the set. Empty: none. */
    readonly use: { readonly [K in Kind]: readonly PluginChoice[] };
  };
  /** The file's name as the user gave it, or "the default config". */
  readonly origin: string;
  /** Modules of `plugins.load` are looked up from here. */
  readonly directory: string;
  readonly locate: Locate;
}

/** The defaults that a program brings: the same shape as the file, without positions. */
export interface ConfigDefaults {
  readonly cluster: ClusterSection;
  readonly use: {
    readonly [K in Kind]: readonly { readonly name: string; readonly config?: Record<string, unknown> }[];
  };
}

export const apiVersion = 'pintle.dev/v1';
export const configKind = 'ClusterConfiguration';
