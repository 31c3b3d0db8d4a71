" The language server as Vim sees it: starts it, tells it of buffers, sends requests. In Vim over a channel in LSP mode;
" in Neovim by its own client (lua/hyades.lua), which tells of buffers itself.

let s:cpo = &cpo
set cpo&vim

let s:root = expand('<sfile>:p:h:h:h:h:h')
let s:status = {'state': 'not started'}
let s:log = []
" Vim only. Buffers that the server knows, each with the id of its listener and the version of its text.
let s:buffers = {}
let s:job = v:null
let s:ready = 0
let s:waiting = []

function! hyades#client#status() abort
  return s:status
endfunction

" Neovim's client keeps what the server prints in a file of its own.
function! hyades#client#log() abort
  return has('nvim') ? s:log + ['What it printed is in ' . luaeval('vim.lsp.get_log_path()')] : s:log
endfunction

" Called by either client.
function! hyades#client#told(method, params) abort
  if a:method ==# 'hyades/status'
    let s:status = a:params
    redrawstatus
  elseif a:method ==# 'window/showMessage'
    echohl WarningMsg | echomsg a:params.message | echohl None
  elseif a:method ==# 'window/logMessage'
    call add(s:log, a:params.message)
  endif
endfunction

" --- buffers --------------------------------------------------------------------------------------------------------

" Starts the server with the first buffer that holds a file's text.
function! hyades#client#attach(buffer) abort
  " The first file is read after plugins are.
  if !v:vim_did_enter | return | endif
  if getbufvar(a:buffer, '&buftype') !=# '' || bufname(a:buffer) ==# '' || !getbufvar(a:buffer, '&buflisted') | return | endif
  if has('nvim') | return s:lua('attach', [a:buffer, s:command(), s:project(), s:settings()]) | endif
  if !s:start() || has_key(s:buffers, a:buffer) | return | endif
  let s:buffers[a:buffer] = {
        \ 'uri': s:path_uri(fnamemodify(bufname(a:buffer), ':p')), 'version': 1,
        \ 'listener': listener_add(function('s:changed'), a:buffer),
        \ }
  call s:notify('textDocument/didOpen', {'textDocument': {
        \ 'uri': s:uri(a:buffer), 'languageId': s:language(a:buffer), 'version': 1, 'text': s:text(a:buffer),
        \ }})
endfunction

function! hyades#client#detach(buffer) abort
  if has('nvim') || !has_key(s:buffers, a:buffer) | return | endif
  let state = remove(s:buffers, a:buffer)
  call listener_remove(state.listener)
  call s:notify('textDocument/didClose', {'textDocument': {'uri': state.uri}})
endfunction

function! hyades#client#saved(buffer) abort
  if has('nvim') || !has_key(s:buffers, a:buffer) | return | endif
  call s:notify('textDocument/didSave', {'textDocument': {'uri': s:uri(a:buffer)}})
endfunction

" One change of lines goes as it is; of several at once the text between them is not known, so all of it goes.
function! s:changed(buffer, start, end, added, changes) abort
  let state = s:buffers[a:buffer]
  let state.version += 1
  let change = {'text': s:text(a:buffer)}
  if len(a:changes) == 1
    let last = a:end + a:added - 1
    let lines = a:start <= last ? getbufline(a:buffer, a:start, last) : []
    let change = {
          \ 'range': {'start': {'line': a:start - 1, 'character': 0}, 'end': {'line': a:end - 1, 'character': 0}},
          \ 'text': join(map(lines, {_, line -> line . s:line_end(a:buffer)}), ''),
          \ }
  endif
  call s:notify('textDocument/didChange', {
        \ 'textDocument': {'uri': s:uri(a:buffer), 'version': state.version}, 'contentChanges': [change],
        \ })
endfunction

function! s:text(buffer) abort
  let end = s:line_end(a:buffer)
  return join(getbufline(a:buffer, 1, '$'), end) . end
endfunction

function! s:line_end(buffer) abort
  return getbufvar(a:buffer, '&fileformat') ==# 'dos' ? "\r\n" : "\n"
endfunction

function! s:language(buffer) abort
  let type = getbufvar(a:buffer, '&filetype')
  return type ==# '' ? 'plaintext' : type
endfunction

function! s:uri(buffer) abort
  return s:buffers[a:buffer].uri
endfunction

function! s:path_uri(path) abort
  return 'file://' . substitute(a:path, '[^A-Za-z0-9/._~-]', {found -> s:percent(found[0])}, 'g')
endfunction

function! s:percent(character) abort
  return join(map(range(strlen(a:character)), {_, i -> printf('%%%02X', char2nr(strpart(a:character, i, 1), 0))}), '')
endfunction

" UTF-16 units of a text.
function! hyades#client#utf16(text) abort
  let units = 0
  for point in str2list(a:text) | let units += point > 0xffff ? 2 : 1 | endfor
  return units
endfunction

" --- requests -------------------------------------------------------------------------------------------------------

" Returns what hyades#client#cancel() takes. Reply is called with the result; not where the server refuses.
function! hyades#client#request(buffer, method, params, Reply) abort
  if has('nvim')
    let s:replies += 1
    let s:reply_of[s:replies] = a:Reply
    return s:lua('request', [a:buffer, a:method, a:params, s:replies])
  endif
  if !s:ready || !has_key(s:buffers, a:buffer) | return 0 | endif
  call listener_flush(a:buffer)
  let params = extend({'textDocument': {'uri': s:uri(a:buffer)}}, a:params)
  let sent = ch_sendexpr(s:job, {'method': a:method, 'params': params}, {
        \ 'callback': {_, message -> has_key(message, 'result') ? a:Reply(message.result) : 0},
        \ })
  return get(sent, 'id', 0)
endfunction

let s:replies = 0
let s:reply_of = {}

" Called by Neovim's client; the result is v:null where there is none.
function! hyades#client#replied(id, result) abort
  let Reply = remove(s:reply_of, a:id)
  if a:result isnot v:null | call Reply(a:result) | endif
endfunction

function! hyades#client#cancel(handle) abort
  if !a:handle | return | endif
  if has('nvim') | return s:lua('cancel', [a:handle]) | endif
  call s:notify('$/cancelRequest', {'id': a:handle})
endfunction

function! hyades#client#execute(command, arguments) abort
  let params = {'command': a:command, 'arguments': a:arguments}
  if has('nvim') | return s:lua('execute', [params]) | endif
  if s:ready | call ch_sendexpr(s:job, {'method': 'workspace/executeCommand', 'params': params}, {'callback': {-> 0}}) | endif
endfunction

function! s:notify(method, params) abort
  let message = {'method': a:method, 'params': a:params}
  if s:ready
    call ch_sendexpr(s:job, message)
  else
    call add(s:waiting, message)
  endif
endfunction

function! s:lua(name, arguments) abort
  return luaeval('require("hyades").' . a:name . '(unpack(_A))', a:arguments)
endfunction

" --- the process ----------------------------------------------------------------------------------------------------

function! s:start() abort
  if s:job isnot v:null | return 1 | endif
  let command = s:command()
  if empty(command) | return 0 | endif
  let s:job = job_start(command, {
        \ 'in_mode': 'lsp', 'out_mode': 'lsp', 'err_mode': 'nl', 'noblock': 1, 'env': {'NO_COLOR': '1'},
        \ 'out_cb': {_, message -> hyades#client#told(get(message, 'method', ''), get(message, 'params', {}))},
        \ 'err_cb': {_, line -> add(s:log, line)},
        \ 'exit_cb': function('s:ended'),
        \ })
  if job_status(s:job) !=# 'run'
    let s:status = {'state': 'error', 'message': 'cannot run ' . join(command)}
    return 0
  endif
  let s:status = {'state': 'starting'}
  call ch_sendexpr(s:job, {'method': 'initialize', 'params': {
        \ 'processId': getpid(), 'rootUri': s:project(), 'capabilities': {'textDocument': {'inlineCompletion': {}}},
        \ 'initializationOptions': s:settings(),
        \ }}, {'callback': function('s:initialized')})
  return 1
endfunction

function! s:initialized(channel, message) abort
  call ch_sendexpr(s:job, {'method': 'initialized', 'params': {}})
  let s:ready = 1
  for message in s:waiting | call ch_sendexpr(s:job, message) | endfor
  let s:waiting = []
  call hyades#began()
endfunction

function! s:ended(job, code) abort
  if a:job isnot s:job | return | endif
  call s:forget()
  let s:status = {'state': 'error', 'message': printf('the language server ended (%d); :Hyades log, :Hyades restart', a:code)}
endfunction

function! s:forget() abort
  for state in values(s:buffers) | call listener_remove(state.listener) | endfor
  let [s:job, s:ready, s:waiting, s:buffers] = [v:null, 0, [], {}]
endfunction

function! hyades#client#stop() abort
  if has('nvim') | return s:lua('stop', []) | endif
  if s:job is v:null | return | endif
  let job = s:job
  call s:forget()
  let s:status = {'state': 'not started'}
  " It ends with its input.
  call ch_close_in(job)
endfunction

" Empty where there is nothing to run; the status says why.
function! s:command() abort
  if has_key(g:hyades, 'command') | return g:hyades.command | endif
  let main = s:root . '/main.ts'
  let runner = executable('deno') ? ['deno'] : executable('npx') ? ['npx', '-y', 'deno@2.9.6'] : []
  if empty(runner) || !filereadable(main)
    let s:status = {'state': 'error', 'message': empty(runner) ? 'install Deno or Node' : 'set g:hyades.command'}
    return []
  endif
  let command = runner + ['run', '-P=serve', '--config', s:root . '/deno.json', main, 'lsp']
  for flag in ['server', 'model'] | if has_key(g:hyades, flag) | let command += ['--' . flag, g:hyades[flag]] | endif | endfor
  return command
endfunction

function! s:settings() abort
  return get(g:hyades, 'settings', {})
endfunction

" The repository that one works in, else the current folder.
function! s:project() abort
  let git = finddir('.git', '.;')
  return s:path_uri(git ==# '' ? getcwd() : fnamemodify(git, ':p:h:h'))
endfunction

let &cpo = s:cpo
unlet s:cpo
