/**
 * Tokens of service accounts: what is in them, and whether one still holds. A token is bound to objects by name and uid,
 * and is worth nothing once one of them has gone, whatever its expiry says.
 */
import { randomUUID } from 'node:crypto';
import type { KubernetesObject, ResourceType, UserInfo } from '../../../../kernel/contract/index.ts';
import type { Pod, Secret, ServiceAccount } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { publicJsonWebKey, signToken, verifiedClaims, type SigningKey } from './json-web-token.ts';

interface Reference {
  readonly name: string;
  readonly uid: string;
}

export interface Binding {
  readonly account: ServiceAccount;
  readonly pod?: Pod | undefined;
  readonly node?: Reference | undefined;
  readonly secret?: Reference | undefined;
}

export type Find = <T extends KubernetesObject>(
  type: ResourceType<T>,
  key: { readonly namespace?: string; readonly name: string },
) => T | undefined;

const referenceOf = ({ metadata }: KubernetesObject): Reference => ({ name: metadata.name, uid: metadata.uid });

/** A pod that is being deleted keeps its token for so long after its time is over: it may still have to say goodbye. */
const leewayMs = 60_000;

export class ServiceAccountTokens {
  readonly issuer: string;
  readonly #key: () => SigningKey;
  readonly #find: Find;
  readonly #now: () => number;

  constructor(options: {
    readonly key: () => SigningKey;
    readonly issuer: string;
    readonly find: Find;
    readonly now: () => number;
  }) {
    this.issuer = options.issuer;
    this.#key = options.key;
    this.#find = options.find;
    this.#now = options.now;
  }

  publicKey(): Readonly<Record<string, unknown>> {
    return publicJsonWebKey(this.#key());
  }

  issue(binding: Binding, audiences: readonly string[], lifetimeSeconds: number): { token: string; endsMs: number } {
    const nowSeconds = Math.floor(this.#now() / 1000);
    const { account, pod, node, secret } = binding;
    const claims = {
      aud: audiences,
      exp: nowSeconds + lifetimeSeconds,
      iat: nowSeconds,
      iss: this.issuer,
      jti: randomUUID(),
      'kubernetes.io': {
        namespace: account.metadata.namespace,
        ...(node && { node }),
        ...(pod && { pod: referenceOf(pod) }),
        ...(secret && { secret }),
        serviceaccount: referenceOf(account),
      },
      nbf: nowSeconds,
      sub: `system:serviceaccount:${account.metadata.namespace}:${account.metadata.name}`,
    };
    return { token: signToken(claims, this.#key()), endsMs: (nowSeconds + lifetimeSeconds) * 1000 };
  }

  /** The old kind, for Secrets of type kubernetes.io/service-account-token: it ends with its Secret. */
  issueLegacy(account: ServiceAccount, secretName: string): string {
    const { namespace, name, uid } = account.metadata;
    return signToken(
      {
        iss: 'kubernetes/serviceaccount',
        'kubernetes.io/serviceaccount/namespace': namespace,
        'kubernetes.io/serviceaccount/secret.name': secretName,
        'kubernetes.io/serviceaccount/service-account.name': name,
        'kubernetes.io/serviceaccount/service-account.uid': uid,
        sub: `system:serviceaccount:${namespace}:${name}`,
      },
      this.#key(),
    );
  }

  /** `audiences`: one of them must be among the token's. */
  authenticate(
    token: string,
    audiences: readonly string[] = [this.issuer],
  ): { readonly user: UserInfo; readonly audiences: readonly string[] } | { readonly failure: string } {
    const claims = verifiedClaims(token, this.#key());
    if (claims === undefined) return { failure: 'invalid bearer token' };
    if (claims['iss'] === 'kubernetes/serviceaccount') return this.#legacy(token, claims, audiences);
    if (claims['iss'] !== this.issuer) return { failure: 'invalid bearer token' };
    const now = this.#now() / 1000;
    if (!(Number(claims['exp']) > now)) return { failure: 'service account token has expired' };
    if (Number(claims['nbf']) > now + 5) return { failure: 'service account token is not valid yet' };
    const held = Array.isArray(claims['aud']) ? claims['aud'] : [claims['aud']];
    const shared = audiences.filter((audience) => held.includes(audience));
    if (shared.length === 0) return { failure: `token audiences ${JSON.stringify(held)} is invalid for this server` };
    const bound = (claims['kubernetes.io'] ?? {}) as Readonly<Record<string, unknown>>;
    const namespace = String(bound['namespace']);
    const account = this.#bound(resources.serviceAccounts, namespace, bound['serviceaccount'] as Reference);
    if (account === undefined) return { failure: 'service account has been deleted or made anew' };
    const extra: Record<string, readonly string[]> = {
      'authentication.kubernetes.io/credential-id': [`JTI=${String(claims['jti'])}`],
    };
    for (const [kind, type] of [
      ['pod', resources.pods],
      ['secret', resources.secrets],
      ['node', resources.nodes],
    ] as const) {
      const reference = bound[kind] as Reference | undefined;
      if (reference === undefined) continue;
      // Of the node a pod runs on the token only tells; it must not end because a node is registered anew.
      const isOnlyTold = kind === 'node' && bound['pod'] !== undefined;
      if (!isOnlyTold && this.#bound<KubernetesObject>(type, namespace, reference) === undefined)
        return { failure: `the ${kind} that the token is bound to has been deleted` };
      if (kind === 'secret') continue;
      extra[`authentication.kubernetes.io/${kind}-name`] = [reference.name];
      extra[`authentication.kubernetes.io/${kind}-uid`] = [reference.uid];
    }
    return { user: userOf(account, extra), audiences: shared };
  }

  #legacy(token: string, claims: Readonly<Record<string, unknown>>, audiences: readonly string[]) {
    const claim = (name: string) => String(claims[`kubernetes.io/serviceaccount/${name}`]);
    const namespace = claim('namespace');
    const reference = { name: claim('service-account.name'), uid: claim('service-account.uid') };
    const account = this.#bound(resources.serviceAccounts, namespace, reference);
    const secret = this.#find<Secret>(resources.secrets, { namespace, name: claim('secret.name') });
    const isHeld = secret?.data?.['token'] === Buffer.from(token).toString('base64');
    if (account === undefined || !isHeld || secret?.metadata.deletionTimestamp !== undefined)
      return { failure: 'the secret of this token, or its service account, has been deleted' };
    if (!audiences.includes(this.issuer)) return { failure: 'token audiences are invalid for this server' };
    return { user: userOf(account, {}), audiences: [this.issuer] };
  }

  #bound<T extends KubernetesObject>(type: ResourceType<T>, namespace: string, reference: Reference): T | undefined {
    const found = this.#find(type, type.namespaced ? { namespace, name: reference.name } : { name: reference.name });
    if (found === undefined || found.metadata.uid !== reference.uid) return undefined;
    const { deletionTimestamp } = found.metadata;
    const isOver = deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + leewayMs < this.#now();
    return isOver ? undefined : found;
  }
}

function userOf(account: ServiceAccount, extra: Readonly<Record<string, readonly string[]>>): UserInfo {
  const { namespace, name, uid } = account.metadata;
  return {
    name: `system:serviceaccount:${namespace}:${name}`,
    uid,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}
