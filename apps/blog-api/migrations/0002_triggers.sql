-- What follows from a change, in the transaction of the change.
--
-- A bulk load brings rows that are in step already: with `set local blog.bulk_load = 'on'` the triggers that
-- keep them in step stand aside. The version does not: nothing that updates a post is exempt from it.

-- The version is the ETag and the cache's order of two states of a row. It is drawn while the row is locked, so its
-- order is the order of the commits; a clock, or a sequence drawn earlier in the transaction, is not.
create function blog.posts_advance() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    new.updated_at := now();
    return new;
end
$$;

create trigger posts_advance before update on blog.posts
    for each row execute function blog.posts_advance();

create function blog.posts_file_under_tags() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        delete from blog.post_tags where post_id = old.id and tag = any (old.tags) and tag <> all (new.tags);
    end if;
    insert into blog.post_tags (tag, post_id)
        select distinct tag, new.id from unnest(new.tags) as tag
        on conflict do nothing;
    return null;
end
$$;

create trigger posts_file_new after insert on blog.posts
    for each row when (current_setting('blog.bulk_load', true) is distinct from 'on')
    execute function blog.posts_file_under_tags();

create trigger posts_file_changed after update of tags on blog.posts
    for each row when (new.tags is distinct from old.tags and current_setting('blog.bulk_load', true) is distinct from 'on')
    execute function blog.posts_file_under_tags();

-- The count lies on the post's row, so a comment moves the post's version.
create function blog.comments_count_new() returns trigger language plpgsql as $$
begin
    update blog.posts set comment_count = comment_count + 1 where id = new.post_id;
    return null;
end
$$;

create trigger comments_count_new after insert on blog.comments
    for each row when (current_setting('blog.bulk_load', true) is distinct from 'on')
    execute function blog.comments_count_new();

-- By statement: the cascade from a deleted post is one statement, and then there is no row left to update.
create function blog.comments_count_gone() returns trigger language plpgsql as $$
begin
    update blog.posts p set comment_count = p.comment_count - gone.n
    from (select post_id, count(*)::int as n from removed group by post_id) gone
    where p.id = gone.post_id;
    return null;
end
$$;

create trigger comments_count_gone after delete on blog.comments
    referencing old table as removed
    for each statement when (current_setting('blog.bulk_load', true) is distinct from 'on')
    execute function blog.comments_count_gone();

-- A comment that moved would leave two counts wrong; nothing here moves one.
create function blog.comments_stay() returns trigger language plpgsql as $$
begin
    raise exception 'a comment stays with its post' using errcode = 'restrict_violation';
end
$$;

create trigger comments_stay before update of post_id on blog.comments
    for each row when (new.post_id is distinct from old.post_id)
    execute function blog.comments_stay();
