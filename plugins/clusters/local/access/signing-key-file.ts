/** The key that signs service account tokens: made once, kept in a file that only this user reads. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PintleError } from '../../../../kernel/contract/index.ts';
import { signingKey, type SigningKey } from './json-web-token.ts';

export async function openSigningKey(path: string): Promise<SigningKey> {
  let text: string | undefined;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (text === undefined) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    text = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await rename(`${path}.new`, path);
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
