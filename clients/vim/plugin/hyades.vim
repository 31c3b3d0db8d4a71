" Hyades in Vim 9 and Neovim: commands, keys and the events on which autoload/hyades.vim acts.
if exists('g:loaded_hyades') | finish | endif
let g:loaded_hyades = 1

if !has('nvim-0.7') && !has('patch-9.0.0185')
  echomsg 'Hyades needs Vim 9.0.185 or Neovim 0.7: it shows completions as virtual text'
  finish
endif

" Vi's way of reading scripts ('compatible', as after `vim -u FILE`) knows neither <Tab> nor continued lines.
let s:cpo = &cpo
set cpo&vim

" What a user may set, all of it optional:
"   server    address of a server; without it the usual one if it runs, else a model in the language server's process
"   model     folder of the model to run there
"   command   the language server, as a list; by default that of the repository which this plugin is part of
"   settings  of the language server: docs/editors.md
"   maps      0: no keys are mapped
let g:hyades = get(g:, 'hyades', {})

highlight default link HyadesGhost Comment

command! -nargs=1 -complete=customlist,hyades#commands Hyades call hyades#command(<q-args>)

augroup hyades
  autocmd!
  autocmd InsertEnter,TextChangedI * call hyades#changed()
  autocmd CursorMovedI * call hyades#moved()
  autocmd CompleteChanged,InsertLeave,BufLeave * call hyades#hide()
  autocmd VimEnter,BufReadPost,BufNewFile,BufEnter,FileType * call hyades#client#attach(bufnr())
  autocmd BufFilePost * call hyades#client#detach(bufnr()) | call hyades#client#attach(bufnr())
  autocmd BufWritePost * call hyades#client#saved(bufnr())
  autocmd BufUnload * call hyades#client#detach(str2nr(expand('<abuf>')))
  autocmd VimLeavePre * call hyades#client#stop()
augroup END

inoremap <silent> <Plug>(hyades-accept) <Cmd>call hyades#accept('all')<CR>
inoremap <silent> <Plug>(hyades-accept-line) <Cmd>call hyades#accept('line')<CR>
inoremap <silent> <Plug>(hyades-accept-word) <Cmd>call hyades#accept('word')<CR>
inoremap <silent> <Plug>(hyades-dismiss) <Cmd>call hyades#dismiss()<CR>
inoremap <silent> <Plug>(hyades-suggest) <Cmd>call hyades#suggest()<CR>

" Keys do what they did while nothing is shown; those that have a mapping already keep it.
function! s:map(key, plug) abort
  if !empty(maparg('<' . a:key . '>', 'i')) | return | endif
  execute printf('imap <silent><expr> <%s> hyades#key("%s", "%s")', a:key, a:key, a:plug)
endfunction

if get(g:hyades, 'maps', 1)
  call s:map('Tab', 'hyades-accept')
  call s:map('S-Tab', 'hyades-accept-line')
  call s:map('C-Right', 'hyades-accept-word')
  call s:map('C-]', 'hyades-dismiss')
  if empty(maparg('<C-F>', 'i')) | imap <silent> <C-F> <Plug>(hyades-suggest)| endif
endif

call hyades#client#attach(bufnr())

let &cpo = s:cpo
unlet s:cpo
