/** What /version says. The release of the schema table, with a build suffix that version checks (Helm) ignore. */
export const kubernetesRelease = 'v1.36.3';

export const versionInfo = {
  major: '1',
  minor: '36',
  gitVersion: `${kubernetesRelease}+pintle`,
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: `node${process.versions.node}`,
  compiler: 'v8',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};
