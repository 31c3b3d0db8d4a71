" Text that is shown and is not there: virtual text of either editor.

let s:cpo = &cpo
set cpo&vim

if has('nvim')
  let s:namespace = nvim_create_namespace('hyades')
  " Older ones can only draw over what follows the cursor.
  let s:place = has('nvim-0.10') ? 'inline' : 'overlay'
else
  " Virtual lines on the screen.
  let s:below = 0
  if empty(prop_type_get('HyadesGhost'))
    call prop_type_add('HyadesGhost', {'highlight': 'HyadesGhost'})
  endif
endif

" line and column as line() and col() have them; the text goes before that column.
function! hyades#ghost#show(line, column, text) abort
  call s:remove()
  let lines = split(a:text, '\n', 1)
  let indent = strdisplaywidth(strpart(getline(a:line), 0, a:column - 1))
  call map(lines, {i, text -> s:without_tabs(text, i == 0 ? indent : 0)})
  if has('nvim')
    let below = map(lines[1:], {_, text -> [[text ==# '' ? ' ' : text, 'HyadesGhost']]})
    call nvim_buf_set_extmark(0, s:namespace, a:line - 1, a:column - 1, {
          \ 'virt_text': [[lines[0], 'HyadesGhost']], 'virt_text_pos': s:place, 'virt_lines': below,
          \ 'hl_mode': 'combine',
          \ })
    return
  endif
  if lines[0] !=# ''
    call prop_add(a:line, a:column, {'type': 'HyadesGhost', 'text': lines[0]})
  endif
  for text in lines[1:]
    call prop_add(a:line, 0, {'type': 'HyadesGhost', 'text': text ==# '' ? ' ' : text, 'text_align': 'below'})
  endfor
  call s:redraw(len(lines) - 1)
endfunction

function! hyades#ghost#clear() abort
  call s:remove()
  if !has('nvim') | call s:redraw(0) | endif
endfunction

function! s:remove() abort
  if has('nvim')
    call nvim_buf_clear_namespace(0, s:namespace, 0, -1)
  else
    call prop_remove({'type': 'HyadesGhost', 'all': 1})
  endif
endfunction

" Vim 9.0 loses track of what is below virtual lines when the line above them changes.
function! s:redraw(below) abort
  if a:below || s:below | redraw! | endif
  let s:below = a:below
endfunction

" Virtual text shows a tab as ^I.
function! s:without_tabs(text, column) abort
  let parts = split(a:text, '\t', 1)
  let shown = parts[0]
  for part in parts[1:]
    let shown .= repeat(' ', &tabstop - (a:column + strdisplaywidth(shown)) % &tabstop) . part
  endfor
  return shown
endfunction

let &cpo = s:cpo
unlet s:cpo
