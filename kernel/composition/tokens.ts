import type { ServiceIdentifier } from 'inversify';
import type { ClusterConfiguration } from '../config/cluster-configuration.ts';
import type { Clock, Host, Kind, Kinds, ManyKind, Role } from '../contract/index.ts';
import type { Catalogue, CatalogueEntry } from '../registry/catalogue.ts';
import type { Settings } from '../registry/configure.ts';
import type { LifeCycle, LifeCycleOptions } from '../registry/life-cycle.ts';
import type { AskHost, Candidate, PlanOptions, Selection } from '../registry/plan.ts';
import type { Report } from '../registry/report.ts';
import type { LogSource } from '../host/logger.ts';

const token = <T>(name: string): ServiceIdentifier<T> => Symbol(`pintle.${name}`);

/** The kernel's own services. Typed: a factory that is given a wrong token does not compile. */
export const tokens = {
  builtIns: token<readonly CatalogueEntry[]>('builtIns'),
  config: token<ClusterConfiguration>('config'),
  role: token<Role>('role'),
  settings: token<Settings>('settings'),
  host: token<Host>('host'),
  clock: token<Clock>('clock'),
  log: token<LogSource>('log'),
  place: token<Place>('place'),
  report: token<Report>('report'),
  catalogue: token<Catalogue>('catalogue'),
  planOptions: token<PlanOptions>('planOptions'),
  askHost: token<AskHost>('askHost'),
  selection: token<Selection>('selection'),
  plan: token<readonly Candidate[]>('plan'),
  lifeCycleOptions: token<Omit<LifeCycleOptions, 'report'>>('lifeCycleOptions'),
  lifeCycle: token<LifeCycle>('lifeCycle'),
} as const;

/** Where this process keeps its state, and which node it is. */
export interface Place {
  readonly stateDir: string;
  readonly nodeName: string | undefined;
  readonly stopDeadlineMs: number;
}

/** A plugin instance as it is bound: with its name, for the kinds with many. */
export interface Bound<K extends Kind> {
  readonly name: string;
  readonly instance: Kinds[K];
}

const kindTokens = new Map<Kind, ServiceIdentifier<Bound<Kind>>>();

export function kindToken<K extends Kind>(kind: K): ServiceIdentifier<Bound<K>> {
  let found = kindTokens.get(kind);
  if (found === undefined) {
    found = token<Bound<Kind>>(`kind.${kind}`);
    kindTokens.set(kind, found);
  }
  return found as ServiceIdentifier<Bound<K>>;
}

/** Instances that take the place of plugins, in tests: their kinds are neither chosen nor started. */
export type Overrides = {
  readonly [K in Kind]?: K extends ManyKind ? ReadonlyMap<string, Kinds[K]> : Kinds[K];
};
