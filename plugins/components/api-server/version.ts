import { reportedVersion } from '../../../kernel/machinery/release.ts';

/** What /version says. */
export const versionInfo = {
  major: '1',
  minor: '36',
  gitVersion: reportedVersion,
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: `node${process.versions.node}`,
  compiler: 'v8',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};
