/**
 * Kind `cluster`: how this process reaches the Kubernetes API. `local` holds the API's state in the server's own process;
 * `remote` speaks HTTPS (or HTTP over a unix socket). The same interface for both, so a controller runs in either.
 *
 * Objects that come out are frozen and shared: the same revision of an object is the same JavaScript object for every
 * reader of `local`. Copy (`structuredClone`) before you change one. Objects that go in are copied or frozen by the callee;
 * do not change them afterwards.
 *
 * Guarantees: reads are never older than what this process has written or read before. `update` and `patch` compare
 * `metadata.resourceVersion` when it is set. A watch delivers every later change in order, none twice, none missing; when
 * it cannot, it rejects with EXPIRED and the caller lists again. resourceVersion is a decimal integer, comparable.
 * Errors: the API codes of errors.ts, with details.causes for INVALID. `remote` maps HTTP Status objects back to them;
 * a server that cannot be reached is UNAVAILABLE (the caller retries).
 * Cancellation: a watch returns when its signal aborts.
 * Capabilities: `serve` (has `server`, what an API front end needs).
 */
import type { Duplex } from 'node:stream';
import type { PintleError } from './errors.ts';
import type { NodeService } from './node-service.ts';
import type { ObjectMeta } from './kubernetes.ts';

export type ClusterCapability = 'serve';

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** Names a resource and, for the compiler, its type. Tokens for all built-in kinds: kernel/machinery/resources.ts. */
export interface ResourceType<T extends KubernetesObject = KubernetesObject> {
  readonly group: string;
  readonly version: string;
  /** Plural, lower case: "pods". */
  readonly resource: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly object?: T;
}

/** An object to create: the server fills in the rest. */
export type NewObject<T extends KubernetesObject> = Omit<T, 'apiVersion' | 'kind' | 'metadata'> & {
  apiVersion?: string;
  kind?: string;
  metadata: Partial<ObjectMeta>;
};

export interface ObjectKey {
  /** Undefined for cluster-scoped resources. */
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** On whose behalf; undefined: this process itself, which may do everything. */
export interface CallOptions {
  readonly user?: UserInfo | undefined;
  /**
   * `remote` gives up when it aborts and rejects with its reason; a write may have happened all the same. `local` answers
   * from its own process and never waits for a network.
   */
  readonly signal?: AbortSignal | undefined;
}

export interface WriteOptions extends CallOptions {
  /** "status", "scale", "binding", "eviction", "ephemeralcontainers", "token" ... */
  readonly subresource?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly fieldManager?: string | undefined;
  /** Unknown and duplicate fields: drop silently, drop and warn, or refuse. Default Ignore for in-process callers. */
  readonly fieldValidation?: 'Ignore' | 'Warn' | 'Strict' | undefined;
  /** Called for each warning that the client should see (HTTP Warning header). */
  readonly warn?: ((message: string) => void) | undefined;
}

export interface ListOptions extends CallOptions {
  /** Undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** As in the API's query parameters: "app=web,tier!=cache". */
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly limit?: number | undefined;
  readonly continue?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan' | undefined;
  /**
   * Only these parts of each object ("spec.podCIDRs"), beside what identifies it (apiVersion, kind, name, namespace, uid,
   * resourceVersion). A hint: a server that does not know it shows whole objects.
   */
  readonly fields?: readonly string[] | undefined;
}

export interface ObjectList<T extends KubernetesObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  readonly continue?: string | undefined;
  readonly remainingItemCount?: number | undefined;
}

export interface WatchOptions extends CallOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Undefined or "0": state now as ADDED events, then changes. Otherwise: changes after this revision. */
  readonly resourceVersion?: string | undefined;
  /** BOOKMARK events about once a minute, and before a server-side end. */
  readonly allowWatchBookmarks?: boolean | undefined;
  /** WatchList (KEP-3157): the state as ADDED events, then a BOOKMARK annotated k8s.io/initial-events-end: "true", then changes. */
  readonly sendInitialEvents?: boolean | undefined;
  readonly timeoutSeconds?: number | undefined;
  /** As for a list. Changes of other parts are no events, and where many watch, changes may be gathered for some seconds. */
  readonly fields?: readonly string[] | undefined;
}

export type WatchEvent<T extends KubernetesObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Only metadata.resourceVersion (and the annotation above) is set. */
  | { readonly type: 'BOOKMARK'; readonly object: KubernetesObject };

export type PatchKind = 'json' | 'merge' | 'strategic' | 'apply';

export interface DeleteOptions extends WriteOptions {
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
}

export interface Cluster {
  /** `subresource`: "status" or "scale". Rejects NOT_FOUND. */
  get<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options?: CallOptions & {
      readonly subresource?: string | undefined;
      readonly resourceVersion?: string | undefined;
    },
  ): Promise<T>;
  list<T extends KubernetesObject>(type: ResourceType<T>, options?: ListOptions): Promise<ObjectList<T>>;
  /** Batches: events that happened together come together. */
  watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<readonly WatchEvent<T>[]>;
  /** For a subresource (binding, token, eviction), `key` names the parent and the answer is the subresource's kind. */
  create<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: NewObject<T>,
    options?: WriteOptions & { readonly parent?: ObjectKey | undefined },
  ): Promise<T>;
  /**
   * Creates each of them by itself, as `create` does, all of one namespace: what fails hinders none of the others. Resolves to
   * what became of each, in their order: undefined, or why it was not created. Rejects when nothing can be said of any.
   * Undefined where it would cost as much as creating them one by one.
   */
  createEach?<T extends KubernetesObject>(
    type: ResourceType<T>,
    objects: readonly NewObject<T>[],
    options?: CallOptions,
  ): Promise<readonly (PintleError | undefined)[]>;
  update<T extends KubernetesObject>(type: ResourceType<T>, object: T, options?: WriteOptions): Promise<T>;
  /** `body`: the patch document, already parsed (an array for `json`). */
  patch<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: { readonly kind: PatchKind; readonly body: unknown; readonly force?: boolean | undefined },
    options?: WriteOptions,
  ): Promise<T>;
  /** Resolves to the object as it is now: gone, or terminating (deletionTimestamp set) while finalizers or grace hold it. */
  delete<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options?: DeleteOptions,
  ): Promise<{ readonly object: T; readonly gone: boolean }>;
  deleteCollection<T extends KubernetesObject>(
    type: ResourceType<T>,
    options?: ListOptions & DeleteOptions,
  ): Promise<ObjectList<T>>;
  /**
   * Gives the API the way to this node's containers (logs, exec ...) for as long as the signal lasts. `remote` keeps one
   * outgoing connection to the server, over which the server opens streams, and re-opens it when it breaks: the node
   * needs no open port.
   */
  serveNode(nodeName: string, service: NodeService, signal: AbortSignal): Promise<void>;
  /**
   * A raw connection to the API's TLS port, whatever way this process itself takes there: what a node forwards its pods'
   * connections into. The identity of this process is no part of it. Undefined where there is no such port.
   */
  connect?(): Promise<Duplex>;
  /** Capability `serve`. */
  readonly server?: ClusterServer | undefined;
}

/** One resource that the API serves: what discovery says of it. */
export interface ServedResource extends ResourceType {
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  /** create delete deletecollection get list patch update watch */
  readonly verbs: readonly string[];
  /** Key into the schema table ("core/v1.Pod"). Undefined for a custom resource. */
  readonly schemaType: string | undefined;
  readonly subresources: readonly ServedSubresource[];
}
export interface ServedSubresource {
  /** "status" */
  readonly name: string;
  /** Group, version and kind of its body: {autoscaling v1 Scale}. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

/** What a caller wants to do: a verb on a resource, or (with `path`) on a URL that is no resource. */
export interface AccessRequest {
  /** get list watch create update patch delete deletecollection impersonate ...; of a path the HTTP method in lower case. */
  readonly verb: string;
  readonly group?: string | undefined;
  readonly resource?: string | undefined;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly path?: string | undefined;
}
export interface AccessDecision {
  readonly allowed: boolean;
  /** Which rule allows it, or why nothing is known that would. */
  readonly reason: string;
}

/** What an API front end (component `api-server`) needs beside the verbs above. */
export interface ClusterServer {
  /** Whose bearer token this is; undefined when it is not valid (any more). */
  authenticate(token: string): UserInfo | undefined;
  /** The front end asks before each call that it makes on somebody's behalf; the verbs above do not ask again. */
  authorize(user: UserInfo, request: AccessRequest): AccessDecision;
  /**
   * Who issues service account tokens, and the public keys (RFC 7517) by which others check them: what OpenID Connect
   * discovery tells. Undefined: no tokens are issued.
   */
  tokenIssuer?(): { readonly issuer: string; readonly keys: readonly Readonly<Record<string, unknown>>[] } | undefined;
  /** All resources, a new array whenever the set changes (custom resources). */
  resources(): readonly ServedResource[];
  /** Streams of a connected node; rejects UNAVAILABLE when the node is not connected. */
  node(name: string): NodeService;
  /** Named checks for /livez and /readyz; a reason is a failure. */
  checks(): readonly { readonly name: string; readonly failure: string | undefined }[];
  readonly revision: number;
}
