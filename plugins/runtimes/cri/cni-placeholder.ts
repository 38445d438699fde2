/**
 * What containerd and CRI-O are given as their CNI network, since they make no network namespace for a pod without one: a
 * plugin that leaves it empty for the attachment. It tells an address, which they insist on, of a range that is for
 * documentation (RFC 5737) and belongs to nobody.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const placeholderType = 'pintle-none';
const version = '0.4.0';

/** Also stands in for the plugin `loopback`, which containerd wants to be there; the attachment brings lo up. */
const placeholderScript = `#!/bin/sh
# CNI plugin ${placeholderType}: does nothing. Pintle's attachment connects the pod.
case "$CNI_COMMAND $CNI_IFNAME" in
"ADD lo") printf '{"cniVersion":"${version}"}' ;;
"ADD "*) printf '{"cniVersion":"${version}","interfaces":[{"name":"%s","sandbox":"%s"}],"ips":[{"version":"4","interface":0,"address":"192.0.2.1/32"}]}' "$CNI_IFNAME" "$CNI_NETNS" ;;
VERSION*) printf '{"cniVersion":"${version}","supportedVersions":["0.3.1","${version}"]}' ;;
esac
`;

const placeholderConfig = `${JSON.stringify(
  { cniVersion: version, name: 'pintle', plugins: [{ type: placeholderType }] },
  undefined,
  2,
)}\n`;

export interface CniFolders {
  readonly confDir: string;
  readonly binDir: string;
}

const filesOf = ({ confDir, binDir }: CniFolders) => ({
  config: join(confDir, '00-pintle.conflist'),
  script: join(binDir, placeholderType),
  loopback: join(binDir, 'loopback'),
  /** A file for each node that uses it: several may share a container runtime, and the last one takes it away. */
  users: join(binDir, `${placeholderType}.users`),
});

/** The script first: a runtime reads the configuration as soon as it is there. `owner` tells nodes apart. */
export function installPlaceholder(folders: CniFolders, owner: string): void {
  const { config, script, loopback, users } = filesOf(folders);
  mkdirSync(users, { recursive: true });
  mkdirSync(folders.confDir, { recursive: true });
  writeFileSync(join(users, owner), '');
  write(script, placeholderScript, 0o755);
  if (!existsSync(loopback)) write(loopback, placeholderScript, 0o755);
  write(config, placeholderConfig, 0o644);
}

export function removePlaceholder(folders: CniFolders, owner: string): void {
  const { config, script, loopback, users } = filesOf(folders);
  rmSync(join(users, owner), { force: true });
  if (existsSync(users) && readdirSync(users).length > 0) return;
  rmSync(users, { recursive: true, force: true });
  if (existsSync(loopback) && readFileSync(loopback, 'latin1') === placeholderScript) rmSync(loopback);
  rmSync(config, { force: true });
  rmSync(script, { force: true });
}

/** Two nodes may do so at once. */
function write(path: string, text: string, mode: number): void {
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, text, { mode });
  renameSync(fresh, path);
}
