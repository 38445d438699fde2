/** JSON Web Tokens (RFC 7519) in the one form that this cluster issues: compact, signed with ES256 (RFC 7518, 3.4). */
import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** Names the key in a token's header. */
  readonly id: string;
}

export function signingKey(privateKey: KeyObject): SigningKey {
  const publicKey = createPublicKey(privateKey);
  const id = createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64url');
  return { privateKey, publicKey, id };
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export function signToken(claims: object, key: SigningKey): string {
  const content = `${encode({ alg: 'ES256', kid: key.id })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(content), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${content}.${signature.toString('base64url')}`;
}

/** RFC 7517: for who checks our tokens himself. */
export function publicJsonWebKey(key: SigningKey): Readonly<Record<string, unknown>> {
  return { use: 'sig', kid: key.id, alg: 'ES256', ...key.publicKey.export({ format: 'jwk' }) };
}

/** Longer ones are not ours, and nobody shall make us hash megabytes. */
const maxLength = 16_384;

/** The claims of a token that this key has signed. Times and audiences are the caller's to check. */
export function verifiedClaims(token: string, key: SigningKey): Readonly<Record<string, unknown>> | undefined {
  if (token.length > maxLength) return undefined;
  const [header, payload, signature, more] = token.split('.');
  if (!header || !payload || !signature || more !== undefined) return undefined;
  try {
    const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, unknown>;
    // The algorithm is ours to say, not the token's (RFC 8725, 3.1).
    if (alg !== 'ES256' || kid !== key.id) return undefined;
    const isSigned = verify(
      'sha256',
      Buffer.from(`${header}.${payload}`),
      { key: key.publicKey, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    );
    if (!isSigned) return undefined;
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims)
      ? (claims as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}
