/**
 * What a plugin is: a frozen value made by `definePlugin`. No import side effects, no registry to call, no container.
 *
 * Life cycle, owned by the kernel: catalogue → select → configure → preflight → start in dependency order under a
 * deadline → running → stop in reverse order, every stop attempted. `start` resolves when the plugin can serve. A `start`
 * that fails, or whose signal aborts, has undone what it did before it rejects. `[Symbol.asyncDispose]` frees what the
 * process holds (sockets, timers, children, subscriptions) and **leaves the data plane and the workloads in place**;
 * removing those is `purge()`, on the kinds that have it. Disposing twice is harmless.
 */
import type { Attachment } from './attachment.ts';
import type { Cluster } from './cluster.ts';
import type { Component } from './component.ts';
import type { Controller } from './controller.ts';
import type { Overlay } from './overlay.ts';
import type { Proxy } from './proxy.ts';
import type { Runtime, RuntimeOffline } from './runtime.ts';
import type { SchedulerPolicy } from './scheduler.ts';
import type { StandardSchemaV1 } from './standard-schema.ts';
import type { Store } from './store.ts';
import type { VolumeDriver } from './volume.ts';

/** Every kind of plugin and what its `start` resolves to. */
export interface Kinds {
  store: Store;
  cluster: Cluster;
  scheduler: SchedulerPolicy;
  controller: Controller;
  runtime: Runtime;
  attachment: Attachment;
  overlay: Overlay;
  proxy: Proxy;
  volume: VolumeDriver;
  component: Component;
}
export type Kind = keyof Kinds;

/** Kinds of which a process runs as many as are configured; of the others it runs exactly one. */
export type ManyKind = 'scheduler' | 'controller' | 'volume' | 'component';

/** What a need resolves to: the one instance, or for kinds with many, each by its plugin name. */
export type Need<K extends Kind> = K extends ManyKind ? ReadonlyMap<string, Kinds[K]> : Kinds[K];

/** The process in which a plugin runs: the server (control plane), a node's agent, or either. */
export type Role = 'server' | 'node' | 'any';

export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Resolves after `ms`; rejects with `signal.reason` when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What several plugins must agree on: section `cluster` of the config file, the same in every process of a cluster. */
export interface ClusterFacts {
  /** Ranges that the nodes' pod ranges are cut from, one a family: ["10.244.0.0/16"]. */
  readonly podCidrs: readonly string[];
  /** Ranges of Service addresses, one a family: ["10.96.0.0/12"]. The first usable address is Service `kubernetes`. */
  readonly serviceCidrs: readonly string[];
  /** "cluster.local" */
  readonly dnsDomain: string;
  /** Address of the cluster's DNS service: "10.96.0.10". */
  readonly dnsServiceIp: string;
}

export interface PluginContext<Config, Needs extends Kind> {
  readonly config: Config;
  readonly cluster: ClusterFacts;
  readonly uses: { readonly [K in Needs]: Need<K> };
  readonly log: Logger;
  readonly clock: Clock;
  /** A folder of this plugin's own, already made, kept between runs. */
  /** What a plugin writes to uses.json there, an object of texts, `pintle plugins show --state-dir` shows as what it uses. */
  readonly stateDir: string;
  /** In an agent: the node's name. In the server: undefined. */
  readonly nodeName: string | undefined;
  /** Prometheus text (version 0.0.4) of every running plugin of this process that is `Measured`. */
  processMetrics(): Promise<string>;
}

/**
 * A plugin of any kind may say how it fares. Counting must cost next to nothing while nobody asks. Metrics of one name from
 * several plugins become one family, so their labels must tell them apart.
 */
export interface Measured {
  /** Prometheus text exposition (version 0.0.4) of this plugin's own metrics. */
  metrics?(): Promise<string>;
}

/** Facts about the host for `preflight`. Cheap, no effects. */
export interface Host {
  readonly kernelRelease: string;
  /** True with the capabilities of root over the network and mount namespaces that the process is in. */
  readonly isPrivileged: boolean;
  /** True when the process is root of the initial user namespace (real root). */
  readonly isRoot: boolean;
  /** Absolute path of an executable on PATH (/usr/sbin and /sbin included), or undefined. */
  command(name: string): string | undefined;
  exists(path: string): boolean;
  /** The file's text, or undefined when it cannot be read. */
  readText(path: string): string | undefined;
}

/** `fix` says what the user can do, with the Debian command where there is one: "apt-get install nftables". */
export type Preflight = { readonly ok: true } | { readonly ok: false; readonly reason: string; readonly fix?: string };

export interface PluginDefinition<K extends Kind, Config, Needs extends Kind, Caps extends string = string> {
  readonly kind: K;
  /** kebab-case, unique in its kind. */
  readonly name: string;
  /** Version of this contract. */
  readonly api: 1;
  /** One sentence for listings, no full stop. */
  readonly summary: string;
  /** Where it runs. Default by kind: store, scheduler, controller: server; runtime, attachment, overlay, proxy, volume: node. */
  readonly role?: Role;
  /** Any Standard Schema V1 (zod, valibot, arktype ...). It must refuse unknown keys and accept `{}`. */
  readonly config: StandardSchemaV1<unknown, Config>;
  readonly needs?: readonly Needs[];
  /** From the kind's closed set. */
  readonly capabilities?: readonly Caps[];
  /** Default 30,000. */
  readonly startDeadlineMs?: number;
  readonly preflight?: (host: Host, config: Config) => Promise<Preflight>;
  readonly start: (
    context: PluginContext<Config, Needs>,
    signal: AbortSignal,
  ) => Promise<Kinds[K] & Measured & AsyncDisposable>;
  /** Of runtimes only: for processes beside the agent, on the node's state folder of this plugin. Starts nothing. */
  readonly offline?: K extends 'runtime'
    ? (context: OfflineContext<Config>) => Promise<RuntimeOffline & AsyncDisposable>
    : never;
}

export type OfflineContext<Config> = Pick<PluginContext<Config, never>, 'config' | 'stateDir' | 'nodeName'>;

/** A plugin of any kind, as the catalogue holds it. */
export type Plugin<K extends Kind = Kind> = {
  [P in K]: Omit<PluginDefinition<P, never, Kind>, 'config'> & { readonly config: StandardSchemaV1<unknown, unknown> };
}[K];

/** Makes a plugin value. Reading a need that is not in `needs` does not compile. */
export function definePlugin<K extends Kind, Config, const Needs extends Kind = never>(
  definition: PluginDefinition<K, Config, Needs>,
): Readonly<PluginDefinition<K, Config, Needs>> {
  return Object.freeze({ ...definition });
}
