/** The key that signs service account tokens: made when the first token is, kept in a file that only this user reads. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { PintleError } from '../../../../kernel/contract/index.ts';
import { signingKey, type SigningKey } from './json-web-token.ts';

/** A file that is there is read now, so that a wrong one is told at the start. */
export function openSigningKey(path: string): () => SigningKey {
  let key = readKey(path);
  return () => (key ??= makeKey(path));
}

function readKey(path: string): SigningKey | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return signingKey(createPrivateKey(text));
  } catch (cause) {
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `${path} holds no private key: restore it from a copy, or remove it to start with a new key (every service account token must then be made anew)`,
      { cause },
    );
  }
}

function makeKey(path: string): SigningKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  renameSync(`${path}.new`, path);
  return signingKey(privateKey);
}
