import { type Command, Help } from 'commander';

/** One place on the command line: the words typed so far ("plugins ls") and what may follow. */
interface Place {
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly text: string }[];
}

/** A completion script generated from the program itself, so that the two cannot drift apart. */
export function completionScript(shell: 'bash' | 'zsh' | 'fish', program: Command): string {
  const places = collect(program, '');
  if (shell === 'fish') return fish(places);
  return shell === 'bash' ? bash(places) : zsh(places);
}

/** Commander's own listings leave hidden commands and options out; so do these. */
function collect(command: Command, path: string): readonly Place[] {
  const help = new Help();
  const commands = help.visibleCommands(command).filter((child) => child.name() !== 'help');
  const words = [
    ...commands.map((child) => ({ word: child.name(), text: child.description() })),
    ...command.registeredArguments.flatMap((argument) =>
      (argument.argChoices ?? []).map((word) => ({ word, text: '' })),
    ),
    ...command.options.flatMap((option) =>
      option.long == null || option.hidden ? [] : [{ word: option.long, text: option.description }],
    ),
    { word: '--help', text: 'show help' },
  ];
  return [{ path, words }, ...commands.flatMap((child) => collect(child, `${path} ${child.name()}`.trim()))];
}

const cases = (places: readonly Place[]): string =>
  places
    .map(({ path, words }) => `    '${path}') candidates='${words.map(({ word }) => word).join(' ')}' ;;`)
    .join('\n');

/** Walks over the words typed so far and keeps those that are commands: the path of the place. */
const known = (places: readonly Place[]): string => places.map(({ path }) => `'${path}'`).join('|');

function bash(places: readonly Place[]): string {
  return `# bash completion for pintle
_pintle() {
  local path='' word candidates='' index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${path:+$path }\${COMP_WORDS[index]}"
    case "$word" in ${known(places)}) path="$word" ;; esac
  done
  case "$path" in
${cases(places)}
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _pintle pintle
`;
}

function zsh(places: readonly Place[]): string {
  return `#compdef pintle
_pintle() {
  local path='' word candidates='' index
  for ((index = 2; index < CURRENT; index++)); do
    word="\${path:+$path }\${words[index]}"
    case "$word" in ${known(places)}) path="$word" ;; esac
  done
  case "$path" in
${cases(places)}
  esac
  compadd -- \${=candidates}
}
compdef _pintle pintle
`;
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words }) =>
    words.map(({ word, text }) => {
      const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${word}`;
      return `complete -c pintle -n '__pintle_at "${path}"' ${what} -d '${text.replaceAll("'", "\\'")}'`;
    }),
  );
  const paths = places.map(({ path }) => `'${path}'`).join(' ');
  return `# fish completion for pintle
function __pintle_at
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l next (string trim "$path $word")
    contains -- "$next" ${paths}; and set path "$next"
  end
  test "$path" = "$argv[1]"
end
complete -c pintle -f
${lines.join('\n')}
`;
}
