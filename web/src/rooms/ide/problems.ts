// Problems in what compilers and interpreters print, as places in files.

export interface Problem {
  file: string;
  line: number;
  column: number;
  message: string;
  severity: 'error' | 'warning';
}

const clean = (text: string) => text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '');

function below(path: string, dir: string): string | null {
  const plain = path.replace(/^file:\/\//, '');
  const within = plain.startsWith('/workspace/') ? plain.slice('/workspace/'.length) : plain.replace(/^\.\//, '');
  if (isOthers(within)) return null;
  return dir && !plain.startsWith('/') ? `${dir}/${within}` : within;
}

/** Whether it is a file of the language or of a library, not of the project. */
function isOthers(below: string): boolean {
  return below.startsWith('/') || below.startsWith('<') || below.startsWith('node:') || below.includes('node_modules/');
}

/** Reads the whole output of one run, of a program that was started in `dir`. */
export function problemsIn(output: string, dir = ''): Problem[] {
  const within = (path: string) => below(path, dir);
  const lines = clean(output).split(/\r?\n/);
  const found: Problem[] = [];
  const add = (path: string, line: string, column: string | undefined, message: string, severity: Problem['severity']) => {
    const file = within(path);
    if (file === null || found.length >= 500) return;
    const problem = { file, line: Number(line), column: Number(column ?? 1), message: message.trim(), severity };
    const known = found.some((other) => other.file === file && other.line === problem.line && other.message === problem.message);
    if (!known) found.push(problem);
  };
  let frame: { file: string; line: string } | null = null;
  let rust: { severity: Problem['severity']; message: string } | null = null;
  let thrown: { file: string; line: string } | null = null;
  for (const line of lines) {
    let match: RegExpExecArray | null;
    // gcc, clang, go: file:line:column: error: words
    if ((match = /^(\/?[^\s:][^:]*\.\w+):(\d+):(?:(\d+):)?\s*(fatal error|error|warning|note)?:?\s*(.+)$/.exec(line)) && match[1] && match[2]) {
      if (match[4] !== 'note') add(match[1], match[2], match[3], match[5] ?? '', match[4] === 'warning' ? 'warning' : 'error');
    } else if ((match = /^(\S+)\((\d+),(\d+)\):\s*(error|warning)\s+(.+)$/.exec(line)) && match[1] && match[2]) {
      add(match[1], match[2], match[3], match[5] ?? '', match[4] === 'warning' ? 'warning' : 'error'); // tsc
    } else if ((match = /^(error|warning)(?:\[\w+\])?: (.+)$/.exec(line))) {
      rust = { severity: match[1] === 'warning' ? 'warning' : 'error', message: match[2] ?? '' };
    } else if (rust && (match = /^\s*--> ([^:]+):(\d+):(\d+)/.exec(line)) && match[1] && match[2]) {
      add(match[1], match[2], match[3], rust.message, rust.severity);
      rust = null;
    } else if ((match = /^\s*File "([^"]+)", line (\d+)/.exec(line)) && match[1] && match[2]) {
      if (within(match[1]) !== null) frame = { file: match[1], line: match[2] }; // the innermost of ours
    } else if (frame && (match = /^(\w*(?:\.\w+)*(?:Error|Exception|Warning|Interrupt|Exit)\b.*)$/.exec(line))) {
      add(frame.file, frame.line, undefined, match[1] ?? '', 'error');
      frame = null;
    } else if ((match = /^((?:file:\/\/)?\/?[^\s:()]+\.[cm]?[jt]sx?):(\d+)$/.exec(line)) && match[1] && match[2]) {
      thrown = { file: match[1], line: match[2] }; // node, above the line of source
    } else if (thrown && (match = /^(?:Uncaught )?(\w*Error\b.*)$/.exec(line))) {
      add(thrown.file, thrown.line, undefined, match[1] ?? '', 'error');
      thrown = null;
    } else if ((match = /^thread '[^']*'.* panicked at ([^:]+):(\d+):(\d+):?$/.exec(line)) && match[1] && match[2]) {
      add(match[1], match[2], match[3], 'The program panicked here', 'error');
    } else if ((match = /^(\S+\.java):(\d+): (error|warning): (.+)$/.exec(line)) && match[1] && match[2]) {
      add(match[1], match[2], undefined, match[4] ?? '', match[3] === 'warning' ? 'warning' : 'error');
    }
  }
  return found;
}
