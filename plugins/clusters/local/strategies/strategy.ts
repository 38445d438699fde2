/**
 * What is special about one kind: a plain value of functions, all optional. The verbs do everything that is the same for
 * all kinds; a kind without a strategy gets just that. Drafts are mutable copies that belong to the running call.
 */
import type { KubernetesObject, ObjectKey, ResourceType, UserInfo } from '../../../../kernel/contract/index.ts';
import type { Authorizer } from '../access/authorizer.ts';
import type { ServiceAccountTokens } from '../access/service-account-tokens.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import type { NameRule } from '../validation/names.ts';

export interface StrategyContext {
  readonly nowMs: number;
  /** RFC 3339 with seconds, as Kubernetes writes times. */
  readonly timestamp: string;
  /** Undefined: this process itself. */
  readonly user: UserInfo | undefined;
  /** Undefined: this cluster has no service account tokens, and pods get none. */
  readonly tokens: ServiceAccountTokens | undefined;
  readonly access: Authorizer | undefined;
  /** Reads the current state. */
  find<T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey): T | undefined;
  all<T extends KubernetesObject>(type: ResourceType<T>, namespace?: string): readonly T[];
  warn(message: string): void;
}

/** Something outside the object that it holds (an address, a port). Exactly one of the two is called. */
export interface Reservation {
  keep(): void;
  cancel(): void;
}

export interface Strategy<T extends KubernetesObject = KubernetesObject> {
  /** Default: subdomain. */
  readonly nameRule?: NameRule;
  /** metadata.generation counts changes of everything but metadata and status. */
  readonly countsGeneration?: boolean;
  /** The creator's status is kept (nodes). Default: dropped, or what `initialStatus` says. */
  readonly keepsStatus?: boolean;
  /** Nothing outside of the status says what it may hold, or completes it: a patch of it alone is checked by itself. */
  readonly statusStandsAlone?: boolean;
  /** The status subresource may change labels, too. Annotations it may always change. */
  readonly statusMayLabel?: boolean;
  initialStatus?(object: T): object;
  /** Completes and admits a new object; may throw FORBIDDEN. */
  prepareCreate?(object: T, context: StrategyContext): void;
  prepareUpdate?(object: T, current: T, context: StrategyContext): void;
  prepareStatus?(object: T, current: T, context: StrategyContext): void;
  /** For a new and for a changed object. */
  validate?(object: T, errors: FieldErrors, context: StrategyContext): void;
  /** Of a new object: the checks that have to wait for something, such as a library that only this kind needs. */
  inspect?(object: T, errors: FieldErrors): Promise<void>;
  validateUpdate?(object: T, current: T, errors: FieldErrors): void;
  validateStatus?(object: T, current: T, errors: FieldErrors): void;
  /** For a change through a subresource other than status, which has taken its part already. May throw FORBIDDEN. */
  checkSubresource?(name: string, object: T, current: T, errors: FieldErrors, context: StrategyContext): void;
  /** Takes what the object holds outside itself; runs after validation, may add errors and fill in fields. */
  reserve?(object: T, current: T | undefined, errors: FieldErrors): Reservation | undefined;
  /** Field selectors beside metadata.name and metadata.namespace. */
  readonly fieldNames?: readonly string[];
  field?(object: T, path: string): string;
  /** One of fieldNames, by which many clients watch: their watches are found by its value. */
  readonly indexedField?: string;
  /** Where replicas stand, for the scale subresource. */
  readonly scale?: {
    selector(object: T): string;
  };
  /** Seconds of grace for a deletion; undefined: this kind is deleted at once. */
  gracePeriod?(object: T, asked: number | undefined): number;
  /** True while something beside metadata.finalizers holds a deleted object. */
  isHeld?(object: T): boolean;
  /** Marks an object whose deletion has begun. */
  terminate?(object: T): void;
  /** What a deletion without a propagationPolicy means. Default: Background. */
  readonly defaultPropagation?: 'Orphan';
}
