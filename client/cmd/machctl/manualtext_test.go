package main

// manualDate is that of the description.
const manualDate = "November 29, 2026"

const manualIntro = `.Sh SYNOPSIS
.Nm
.Op Ar option ...
.Op Ar verb Op Ar argument ...
.Sh DESCRIPTION
.Nm
talks to whatever owns
.Li org.freedesktop.machine1 :
.Xr machd 8
or
.Xr systemd-machined.service 8 .
Without a verb it lists machines.
Verbs and options are spelled as those of
.Xr machinectl 1 .
Called as
.Nm machinectl ,
by a link, it prints what that command prints.
.Pp
Of several names each is tried, and each failure is named.
What is printed for a person to know goes to standard error, results to standard
output.
.Pp
.Sq -
in a table says that there is none, a
.Sq \&?
that the machine did not answer in time.
`

const manualOutput = `.Sh OUTPUT
Lists are tables that fit the terminal.
.Fl -columns ,
.Fl -sort
and
.Fl -filter
choose of them by the keys below,
.Fl -json
prints all keys, and
.Fl -format
runs a template of Go for each row.
These keys stay as they are; there may be more of them.
What is unknown is null in JSON, what there may be several of is an array, times
are as of RFC 3339, and what is not said to be anything else is a string.
`

const manualEnvironment = `.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev DBUS_SYSTEM_BUS_ADDRESS , DBUS_SESSION_BUS_ADDRESS
Where the bus is; the second one with
.Fl -user .
.It Ev SYSTEMD_BUS_TIMEOUT
How long an answer of the daemon is waited for.
.It Ev SYSTEMD_PAGER , PAGER
What shows long output; with
.Cm cat
or nothing, it is not paged.
.It Ev SYSTEMD_LESS , SYSTEMD_LESSCHARSET , SYSTEMD_PAGERSECURE
As
.Xr machinectl 1
has them.
.It Ev SYSTEMD_EDITOR , EDITOR , VISUAL
The editor of
.Cm edit .
.It Ev SYSTEMD_UTF8
Whether more than ASCII is printed; without it
.Ev LC_ALL , LC_CTYPE
and
.Ev LANG
say so, and where none is set it is.
.It Ev NO_COLOR
If it is set, there is no colour.
.It Ev SYSTEMD_SSH
The program that
.Fl -host
runs in place of
.Xr ssh 1 .
.El
`

const manualTail = `.Sh SEE ALSO
.Xr machinectl 1 ,
.Xr systemd-nspawn 1 ,
.Xr machd.nspawn 5 ,
.Xr org.machd 5 ,
.Xr machd 8
`
