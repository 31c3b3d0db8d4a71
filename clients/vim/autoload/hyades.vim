" What is suggested at the cursor, and what keys do with it. Knows the language server by hyades#client and the screen by
" hyades#ghost.

let s:cpo = &cpo
set cpo&vim

" The suggestion that is shown: {id, text, replaces, items, buffer, line, column}; empty when none is.
let s:shown = {}
" Of the newest request, so that it can be cancelled.
let s:request = {}
let s:enabled = 1

function! hyades#is_shown() abort
  return !empty(s:shown)
endfunction

" What a mapping of a key types: the plugin's while something is shown, else the key itself.
function! hyades#key(key, plug) abort
  return hyades#is_shown() ? "\<Plug>(" . a:plug . ')' : eval('"\<' . a:key . '>"')
endfunction

" --- what happens to the text ---------------------------------------------------------------------------------------

" A key was typed, or insert mode begun.
function! hyades#changed() abort
  if !s:enabled || pumvisible() | return hyades#hide() | endif
  if !s:shorten_typed() | call hyades#hide() | endif
  call s:ask(2, function('s:show'))
endfunction

" The language server answers from now on: it is asked what keys before could not ask.
function! hyades#began() abort
  if mode() =~# '^[iR]' | call hyades#changed() | endif
endfunction

function! hyades#moved() abort
  if !empty(s:shown) && !s:is_here(s:shown) && !s:is_typing() | call hyades#hide() | endif
endfunction

function! hyades#hide() abort
  let s:shown = {}
  call hyades#ghost#clear()
endfunction

" The text has changed since, so TextChangedI is about to come.
function! s:is_typing() abort
  return b:changedtick != s:shown.tick
endfunction

" What is typed as it is shown stays, without a wait for the server to say the same.
function! s:shorten_typed() abort
  if empty(s:shown) || s:shown.buffer != bufnr() | return 0 | endif
  let [line, column] = [line('.'), col('.')]
  if line != s:shown.line || column <= s:shown.column | return line == s:shown.line && column == s:shown.column | endif
  let typed = strpart(getline('.'), s:shown.column - 1, column - s:shown.column)
  if stridx(s:shown.text, typed) != 0 || typed ==# s:shown.text | return 0 | endif
  call s:display(s:shown.items[0], strpart(s:shown.text, strlen(typed)), s:shown.replaces, s:shown.items)
  return 1
endfunction

" --- asking ---------------------------------------------------------------------------------------------------------

" By hand: several suggestions, one after the other.
function! hyades#suggest() abort
  if len(get(s:shown, 'items', [])) > 1
    let items = s:shown.items[1:] + s:shown.items[:0]
    return s:show_items(items)
  endif
  call s:ask(1, function('s:show'))
endfunction

function! s:ask(trigger, Show) abort
  if !empty(s:request) | call hyades#client#cancel(s:request.handle) | endif
  let here = {'buffer': bufnr(), 'tick': b:changedtick, 'line': line('.'), 'column': col('.')}
  let params = {
        \ 'position': {'line': here.line - 1, 'character': hyades#client#utf16(strpart(getline('.'), 0, here.column - 1))},
        \ 'context': {'triggerKind': a:trigger},
        \ }
  let s:request = here
  let here.handle = hyades#client#request(
        \ here.buffer, 'textDocument/inlineCompletion', params, {items -> a:Show(here, items)})
endfunction

function! s:show(here, items) abort
  if a:here isnot s:request || !s:is_here(a:here) || mode() !~# '^[iR]' | return | endif
  let s:request = {}
  if empty(a:items) | return hyades#hide() | endif
  call s:show_items(a:items)
endfunction

function! s:show_items(items) abort
  let item = a:items[0]
  let replaces = item.range.end.character - item.range.start.character
  call s:display(item, substitute(item.insertText, '\r\n', '\n', 'g'), replaces, a:items)
endfunction

function! s:display(item, text, replaces, items) abort
  let s:shown = {
        \ 'id': a:item.command.arguments[0], 'text': a:text, 'replaces': a:replaces, 'items': a:items,
        \ 'buffer': bufnr(), 'line': line('.'), 'column': col('.'), 'tick': b:changedtick,
        \ }
  call hyades#ghost#show(s:shown.line, s:shown.column, a:text)
endfunction

function! s:is_here(place) abort
  return a:place.buffer == bufnr() && a:place.line == line('.') && a:place.column == col('.')
endfunction

" --- taking ---------------------------------------------------------------------------------------------------------

" portion: 'all', 'line' or 'word'
function! hyades#accept(portion) abort
  if empty(s:shown) || !s:is_here(s:shown) | return | endif
  let shown = s:shown
  let taken = s:portion(shown.text, a:portion)
  let rest = strpart(shown.text, strlen(taken))
  call hyades#hide()
  call s:insert(taken, rest ==# '' ? shown.replaces : 0)
  call hyades#client#execute('hyades.accepted', [shown.id, a:portion])
  if rest !=# '' | call s:display(shown.items[0], rest, shown.replaces, shown.items) | endif
endfunction

function! hyades#dismiss() abort
  if empty(s:shown) | return | endif
  call hyades#client#execute('hyades.dismissed', [s:shown.id])
  call hyades#hide()
endfunction

function! s:portion(text, portion) abort
  if a:portion ==# 'word'
    return matchstr(a:text, '^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)\?')
  elseif a:portion ==# 'line'
    return matchstr(a:text, '^\n*[^\n]*')
  endif
  return a:text
endfunction

" Puts text at the cursor in place of so many bytes after it, as it is: no indenting, no wrapping.
function! s:insert(text, replaced) abort
  let [line, column] = [line('.'), col('.')]
  let before = strpart(getline(line), 0, column - 1)
  let after = strpart(getline(line), column - 1 + a:replaced)
  let lines = split(a:text, '\n', 1)
  let lines[0] = before . lines[0]
  let end = strlen(lines[-1])
  let lines[-1] .= after
  call setline(line, lines[0])
  if len(lines) > 1 | call append(line, lines[1:]) | endif
  call cursor(line + len(lines) - 1, end + 1)
endfunction

" --- commands -------------------------------------------------------------------------------------------------------

function! hyades#commands(lead, line, position) abort
  return filter(['disable', 'enable', 'log', 'restart', 'status'], {_, name -> stridx(name, a:lead) == 0})
endfunction

function! hyades#command(name) abort
  if a:name ==# 'enable' || a:name ==# 'disable'
    let s:enabled = a:name ==# 'enable'
    call hyades#hide()
  elseif a:name ==# 'restart'
    call hyades#client#stop()
    call hyades#client#attach(bufnr())
  elseif a:name ==# 'status'
    echo hyades#statusline()
  elseif a:name ==# 'log'
    for line in hyades#client#log() | echomsg line | endfor
  else
    echoerr 'Hyades: no command ' . a:name . '; there are ' . join(hyades#commands('', '', 0), ', ')
  endif
endfunction

" For 'statusline': what the server does, the model, and how long the last suggestion took.
function! hyades#statusline() abort
  if !s:enabled | return 'Hyades: off' | endif
  let status = hyades#client#status()
  let parts = [status.state]
  if has_key(status, 'model') | call add(parts, status.model) | endif
  if has_key(status, 'latencyMs') | call add(parts, status.latencyMs . ' ms') | endif
  if has_key(status, 'message') | call add(parts, status.message) | endif
  return 'Hyades: ' . join(parts, ' · ')
endfunction

let &cpo = s:cpo
unlet s:cpo
